"""One training run, from a config to a folder with checkpoints, curves and figures."""

import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger

from lstm_lm.config.schema import TrainConfig
from lstm_lm.data.streams import Window
from lstm_lm.errors import CheckpointError, TrainingError
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.files import write_atomically
from lstm_lm.text.vocabulary import Vocabulary
from lstm_lm.training.callbacks.checkpoints import Checkpoints, Interruption
from lstm_lm.training.callbacks.clock import RunClock
from lstm_lm.training.callbacks.curves import Curves, ProgressBar
from lstm_lm.training.callbacks.tensorboard import Projector, TextSamples
from lstm_lm.training.checkpoint_io import AtomicCheckpointIO
from lstm_lm.training.datamodule import LanguageModelDataModule
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.optimizers import TailAverage
from lstm_lm.training.precision import lightning_precision

log = logging.getLogger(__name__)

CHECKPOINT_FORMAT = 1
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
    _quiet_lightning()
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
    trainer = build_trainer(config, run_dir, vocabulary, clock, curves, checkpoints)
    module = LanguageModelModule(
        model,
        loss=config.loss,
        optimizer=config.optimizer,
        schedule=config.schedule,
        vocabulary=vocabulary,
        bptt_length=config.batching.bptt_length,
        seed=config.seed,
        fraction=lambda step: clock.fraction(step, trainer.estimated_stepping_batches),
        record={
            "format": CHECKPOINT_FORMAT,
            "model": asdict(config.model),
            "vocabulary": vocabulary.to_dict(),
            "tokenizer": config.data.tokenizer,
            "data": asdict(config.data),
            "presets": {name: asdict(spec) for name, spec in {**config.presets, "default": config.sampling}.items()},
            "default_preset": "default",
            "metrics": {},
        },
    )
    log.info(
        "%s words in the vocabulary, %s parameters, %s, run folder %s",
        f"{len(vocabulary):,}",
        f"{_count(model):,}",
        trainer.precision,
        run_dir,
    )
    if config.trainer.overfit_one_batch:
        _fit_one_window(trainer, module, data)
        outcome: dict[str, Any] = {"overfit": {"first_loss": curves.first_loss, "last_loss": curves.last_loss}}
    else:
        if config.resume is not None:
            check_resumable(Path(config.resume), module.record)
            checkpoints.adopt_best(Path(config.resume))
        trainer.fit(module, datamodule=data, ckpt_path=config.resume, weights_only=True)
        outcome = {"valid": checkpoints.best_score, "stopped_by": _stopped_by(trainer, clock)}
    metrics = outcome | {
        "epochs": round(curves.tokens / curves.epoch_tokens, 3),
        "steps": trainer.global_step,
        "wall_seconds": round(clock.elapsed(), 1),
        "tokens_per_second": round(curves.mean_tokens_per_second, 1),
        "precision": str(trainer.precision),
        "parameters": _count(model),
        "vocabulary": len(vocabulary),
        "seed": config.seed,
        "best_checkpoint": "checkpoints/best.ckpt",
        "history": curves.history,
    }
    if isinstance(trainer.logger, TensorBoardLogger) and "valid" in metrics:
        trainer.logger.log_hyperparams(
            _flat(asdict(config)), {"final/valid_perplexity": metrics["valid"]["perplexity"]}
        )
        trainer.logger.finalize("success")
    write_atomically(run_dir / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    if config.trainer.overfit_one_batch:
        _check_overfit(curves)
    return metrics


def build_trainer(
    config: TrainConfig,
    run_dir: Path,
    vocabulary: Vocabulary,
    clock: RunClock,
    curves: Curves,
    checkpoints: Checkpoints,
) -> L.Trainer:
    """Lightning's trainer with our callbacks, in the order in which they must be asked.

    Args:
        config: A validated config.
        run_dir: Where checkpoints and event files go.
        vocabulary: For samples and projector.
        clock: Ends the run in time.
        curves: Measures it.
        checkpoints: Keeps it.
    """
    spec = config.trainer
    callbacks: list[Callback] = [clock, curves]
    if config.callbacks.sample_words and config.presets:
        prompt, num_words = config.callbacks.sample_prompt, config.callbacks.sample_words
        callbacks.append(TextSamples(vocabulary, config.presets, prompt, num_words, config.seed))
    if config.callbacks.projector_words:
        callbacks.append(Projector(vocabulary, config.callbacks.projector_words))
    if config.callbacks.progress_bar:
        callbacks.append(ProgressBar(curves))
    if config.optimizer.name == "asgd":
        callbacks.append(TailAverage(config.optimizer.average_from_epoch))
    if config.callbacks.early_stopping_patience:
        callbacks.append(EarlyStopping("valid/loss", patience=config.callbacks.early_stopping_patience))
    if not spec.overfit_one_batch:
        callbacks += [checkpoints, Interruption(checkpoints)]
    logger = TensorBoardLogger(run_dir, name="", version="tensorboard", default_hp_metric=False)
    return L.Trainer(
        accelerator=spec.accelerator,
        devices=spec.devices,
        strategy=spec.strategy,
        precision=lightning_precision(spec.precision, spec.accelerator),  # type: ignore[arg-type]
        max_epochs=spec.max_epochs,
        max_steps=spec.max_steps,
        gradient_clip_val=spec.gradient_clip or None,
        val_check_interval=spec.valid_every,
        limit_train_batches=spec.limit_train_windows or 1.0,
        limit_val_batches=0 if spec.overfit_one_batch else (spec.limit_valid_windows or 1.0),
        num_sanity_val_steps=0,
        log_every_n_steps=1,  # Curves decides
        logger=logger if config.logger.tensorboard else False,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=config.callbacks.progress_bar,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run_dir,
    )


def check_resumable(path: Path, record: dict[str, Any]) -> None:
    """Refuse a checkpoint that this run cannot go on from, before anything is trained.

    Args:
        path: A checkpoint of ``lstm-lm train``.
        record: What this run's own checkpoints say.

    Raises:
        CheckpointError: If it is missing, damaged, foreign, or of another network or vocabulary.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint; a run keeps its own in RUN/checkpoints/last.ckpt")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["lstm_lm"]
    except Exception as error:
        raise CheckpointError(f"{path}: is damaged or no checkpoint of lstm-lm train ({error})") from error
    for part in ("model", "vocabulary", "tokenizer"):
        if saved[part] != record[part]:
            shown = "" if part == "vocabulary" else f" (it has {saved[part]}, the config {record[part]})"
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


def _quiet_lightning() -> None:
    # its hints on hardware and products say nothing about this run, which has its own log
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=DeprecationWarning)


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
