"""One training run, from a config to a folder with checkpoints, curves and figures."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from lstm_lm.config.schema import TrainConfig
from lstm_lm.data.spec import DataSpec
from lstm_lm.data.streams import Window
from lstm_lm.errors import CheckpointError, TrainingError
from lstm_lm.export.checkpoint import CHECKPOINT_FORMAT, open_checkpoint
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.files import write_json
from lstm_lm.text.vocabulary import Vocabulary
from lstm_lm.training.callbacks.checkpoints import Checkpoints
from lstm_lm.training.callbacks.clock import RunClock
from lstm_lm.training.callbacks.curves import Curves
from lstm_lm.training.datamodule import LanguageModelDataModule
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.precision import choose_precision
from lstm_lm.training.trainer import build_trainer

log = logging.getLogger(__name__)

OVERFIT_SHARE = 0.05  # of the first loss: what a network that learns reaches on a single window


def train(config: TrainConfig, run_dir: Path) -> dict[str, Any]:
    """Train as ``config`` says.

    Args:
        config: A validated config.
        run_dir: Gets ``checkpoints/best.ckpt`` and ``checkpoints/last.ckpt``, ``tensorboard/`` and ``metrics.json``.

    Returns:
        What ``metrics.json`` holds: the valid score of the best checkpoint, epochs, steps, wall time, speed, the
        history of all validations.

    Raises:
        DataError: If the corpus cannot be read or is too short.
        CheckpointError: If ``config.resume`` cannot be read or does not fit, or a checkpoint cannot be written.
        TrainingError: If the loss is not finite, or one window could not be learnt by heart.
        TrainingInterruptedError: If a signal stopped it; ``last.ckpt`` is written.
    """
    torch.manual_seed(config.seed)
    data = LanguageModelDataModule(config.data, config.batching, config.seed)
    data.setup("fit")
    vocabulary = data.corpus.vocabulary
    model = LSTMLanguageModel(config.model, len(vocabulary))
    model.start_from_unigrams(torch.tensor(vocabulary.counts))

    limit = config.trainer.max_minutes
    clock = RunClock(None if limit is None else 60.0 * limit)
    curves = Curves(clock, config.logger.every_steps, len(data.corpus.splits["train"]))
    checkpoints = Checkpoints(run_dir / "checkpoints")
    resumed = None if config.resume is None else open_checkpoint(Path(config.resume))["lstm_lm"]
    precision = config.trainer.precision
    if precision == "auto":  # decided by timing, so a run that goes on keeps what it began with
        precision = resumed.get("precision", "fp32") if resumed else choose_precision(config.trainer.accelerator)
    trainer = build_trainer(config, run_dir, precision, vocabulary, clock, curves, checkpoints)
    module = LanguageModelModule(
        model,
        loss=config.loss,
        optimizer=config.optimizer,
        schedule=config.schedule,
        vocabulary=vocabulary,
        bptt_length=config.batching.bptt_length,
        seed=config.seed,
        fraction=lambda step: clock.fraction(step, trainer.estimated_stepping_batches),
        record=_record(config, precision, vocabulary),
    )
    log.info(
        "%s words in the vocabulary, %s parameters, %s, run folder %s",
        f"{len(vocabulary):,}",
        f"{_count(model):,}",
        precision,
        run_dir,
    )
    if config.trainer.overfit_one_batch:
        _fit_one_window(trainer, module, data)
        outcome: dict[str, Any] = {"overfit": {"first_loss": curves.first_loss, "last_loss": curves.last_loss}}
    else:
        if config.resume is not None and resumed is not None:
            check_resumable(Path(config.resume), resumed, module.record)
            checkpoints.adopt_best(Path(config.resume))
        trainer.fit(module, datamodule=data, ckpt_path=config.resume, weights_only=True)
        if not curves.mean_tokens_per_second:
            raise TrainingError(
                f"{config.resume}: that run had already come to its end after {trainer.global_step} steps; raise "
                "trainer.max_epochs, trainer.max_steps or trainer.max_minutes to go on"
            )
        outcome = {
            "valid": checkpoints.best_score,
            "stopped_by": _stopped_by(trainer, clock),
            "best_checkpoint": "checkpoints/best.ckpt",
        }
    metrics = outcome | {
        "epochs": round(curves.tokens / curves.epoch_tokens, 3),
        "steps": trainer.global_step,
        "wall_seconds": round(clock.elapsed(), 1),
        "tokens_per_second": round(curves.mean_tokens_per_second, 1),
        "precision": precision,
        "parameters": _count(model),
        "vocabulary": len(vocabulary),
        "seed": config.seed,
        "history": curves.history,
    }
    _finish(trainer, config, metrics, run_dir)
    if config.trainer.overfit_one_batch:
        _check_overfit(curves)
    return metrics


def _finish(trainer: L.Trainer, config: TrainConfig, metrics: dict[str, Any], run_dir: Path) -> None:
    """Write ``metrics.json``, and the hyperparameters with the final figure to TensorBoard."""
    if isinstance(trainer.logger, TensorBoardLogger) and "valid" in metrics:
        trainer.logger.log_hyperparams(
            _flat(asdict(config)), {"final/valid_perplexity": metrics["valid"]["perplexity"]}
        )
        trainer.logger.finalize("success")
    write_json(run_dir / "metrics.json", metrics)


def _record(config: TrainConfig, precision: str, vocabulary: Vocabulary) -> dict[str, Any]:
    """What a checkpoint says about itself: plain data that is read without this config."""
    presets = {**config.presets, "default": config.sampling}
    return {
        "format": CHECKPOINT_FORMAT,
        "model": asdict(config.model),
        "vocabulary": vocabulary.to_dict(),
        "tokenizer": config.data.tokenizer,
        "data": asdict(_from_anywhere(config.data)),
        "presets": {name: asdict(preset) for name, preset in presets.items()},
        "default_preset": "default",
        "metrics": {},
        "optimizer": asdict(config.optimizer),
        "schedule": asdict(config.schedule),
        "batching": asdict(config.batching),
        "seed": config.seed,
        "precision": precision,
    }


def _from_anywhere(data: DataSpec) -> DataSpec:
    """The same corpus with absolute places, so that the checkpoint is scored from any working directory."""
    hub_path = data.hub_path
    if hub_path is not None and Path(hub_path).expanduser().is_dir():
        hub_path = _absolute(hub_path)
    return replace(data, dir=_absolute(data.dir), hub_path=hub_path, cache_dir=_absolute(data.cache_dir))


def _absolute(folder: str | None) -> str | None:
    return None if folder is None else str(Path(folder).expanduser().resolve())


def check_resumable(path: Path, saved: dict[str, Any], record: dict[str, Any]) -> None:
    """Refuse a checkpoint that this run cannot go on from, before anything is trained.

    Args:
        path: Where it lies, for the message.
        saved: What the checkpoint says about itself.
        record: What this run's own checkpoints say.

    Raises:
        CheckpointError: If it is of a run whose steps would have been others: what it restores would silently win over
            the config, or not fit.
    """
    for part in (
        "format",
        "model",
        "vocabulary",
        "tokenizer",
        "optimizer",
        "schedule",
        "batching",
        "seed",
        "precision",
    ):
        if saved.get(part) != record[part]:
            shown = "" if part == "vocabulary" else f" (it has {saved.get(part)}, the config {record[part]})"
            raise CheckpointError(
                f"{path}: was trained with another {part}{shown}; resume with the overrides of the first run"
            )


def _fit_one_window(trainer: L.Trainer, module: LanguageModelModule, data: LanguageModelDataModule) -> None:
    window = next(iter(data.train_dataloader()))
    assert trainer.max_steps > 0, "overfit_one_batch needs trainer.max_steps"
    trainer.fit(module, train_dataloaders=_Repeated(window, trainer.max_steps))


@dataclass(frozen=True)
class _Repeated:
    """A loader that gives one window again and again; a list Lightning would take for several loaders."""

    window: Window
    times: int

    def __len__(self) -> int:
        return self.times

    def __iter__(self) -> Iterator[Window]:
        return repeat(self.window, self.times)


def _check_overfit(curves: Curves) -> None:
    first, last = curves.first_loss, curves.last_loss
    if first is None or not last < OVERFIT_SHARE * first:
        raise TrainingError(
            f"one window was not learnt by heart: the loss went from {first:.4f} to {last:.4f}, and must fall below "
            f"{OVERFIT_SHARE:.0%} of its start; try more trainer.max_steps or another optimizer.lr"
        )


def _stopped_by(trainer: L.Trainer, clock: RunClock) -> str:
    if clock.ran_out:
        return "max_minutes"
    if trainer.max_steps > 0 and trainer.global_step >= trainer.max_steps:
        return "max_steps"
    if trainer.max_epochs is not None and trainer.current_epoch >= trainer.max_epochs:
        return "max_epochs"
    return "early_stopping"


def _count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, int | float | str | bool) else str(value)
    return flat
