"""One training run, from a config to a folder with checkpoints, curves and figures."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from lstm_lm.config.schema import TrainConfig
from lstm_lm.data.word_vectors import word_vectors
from lstm_lm.errors import TrainingError
from lstm_lm.export.checkpoint_file import open_checkpoint
from lstm_lm.inference.word_lists import validate_banned_words
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.files import write_json
from lstm_lm.training.callbacks.checkpoints import BestAndLastCheckpoint
from lstm_lm.training.callbacks.planning import EpochPlanner
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.callbacks.training_metrics import TrainingMetrics
from lstm_lm.training.checkpoint_metadata import check_resumable, checkpoint_record
from lstm_lm.training.datamodule import LanguageModelDataModule
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.overfit import check_overfit, fit_one_window
from lstm_lm.training.precision import choose_precision
from lstm_lm.training.restoring import restoring
from lstm_lm.training.trainer import build_trainer

log = logging.getLogger(__name__)


def train(config: TrainConfig, run_dir: Path) -> dict[str, Any]:
    """Train as ``config`` says.

    Args:
        config: A validated config.
        run_dir: Gets ``checkpoints/best.ckpt`` and ``checkpoints/last.ckpt``, ``tensorboard/`` and ``metrics.json``.

    Returns:
        What ``metrics.json`` holds: the valid score of the best checkpoint, epochs, steps, wall time, speed, the
        history of all validations.

    Raises:
        ConfigError: If a preset bans a word that is not in the vocabulary.
        DataError: If the corpus cannot be read or is too short.
        CheckpointError: If ``config.resume`` cannot be read or does not fit, or a checkpoint cannot be written.
        TrainingError: If the loss is not finite, one window could not be learnt by heart, or this machine has not the
            devices that ``config`` asks for.
        TrainingInterruptedError: If a signal stopped it; ``last.ckpt`` is written.
    """
    torch.manual_seed(config.seed)
    data = LanguageModelDataModule(config.data, config.batching, config.seed)
    data.setup("fit")
    vocabulary = data.corpus.vocabulary
    validate_banned_words(config.presets, vocabulary)
    model = LSTMLanguageModel(config.model, len(vocabulary))
    clock = TimeBudget(config.trainer.budget_seconds, config.trainer.max_val_fraction)
    clock.start()
    curves = TrainingMetrics(clock, config.logger.log_every_n_steps, len(data.corpus.splits["train"]))
    planner = EpochPlanner(config.trainer, config.model, clock, curves)
    checkpoints = BestAndLastCheckpoint(run_dir / "checkpoints")
    resumed = None if config.resume is None else open_checkpoint(Path(config.resume))["lstm_lm"]
    precision = config.trainer.precision
    if precision == "auto":  # decided by timing, so a run that goes on keeps what it began with
        precision = resumed.get("precision", "fp32") if resumed else choose_precision(config.trainer.accelerator)
    trainer = build_trainer(config, run_dir, precision, vocabulary, clock, curves, planner, checkpoints)
    model.init_bias_from_unigrams(torch.tensor(vocabulary.counts))
    if config.embedding_init == "cooccurrence" and config.resume is None:
        ids = data.corpus.splits["train"]
        model.init_embedding(word_vectors(ids, len(vocabulary), config.model.embedding_dim, config.seed))
    # torch averages the gradients of several processes only where they are dense
    sparse_gradient = (
        config.optimizer.name == "row_adamw" and trainer.world_size == 1 and trainer.strategy.root_device.type == "cpu"
    )
    module = LanguageModelModule(
        model,
        loss=config.loss,
        optimizer=config.optimizer,
        schedule=config.schedule,
        vocabulary=vocabulary,
        bptt_length=config.batching.bptt_length,
        seed=config.seed,
        fraction=lambda step: clock.fraction(step, trainer.estimated_stepping_batches),
        record=checkpoint_record(config, precision, vocabulary, trainer.world_size, sparse_gradient),
        sparse_gradient=sparse_gradient,
    )
    log.info(
        "%s words in the vocabulary, %s parameters, %s, run folder %s",
        f"{len(vocabulary):,}",
        f"{_count(model):,}",
        precision,
        run_dir,
    )
    if config.trainer.overfit_one_batch:
        fit_one_window(trainer, module, data)
        outcome: dict[str, Any] = {"overfit": {"first_loss": curves.first_loss, "last_loss": curves.last_loss}}
    else:
        if config.resume is not None and resumed is not None:
            check_resumable(Path(config.resume), resumed, module.record)
            checkpoints.adopt_best(Path(config.resume), module.record)
        with restoring(config.resume, trainer):
            trainer.fit(module, datamodule=data, ckpt_path=config.resume, weights_only=True)
        if not curves.mean_tokens_per_second:
            raise TrainingError(
                f"{config.resume}: that run had already come to its end after {trainer.global_step} steps; raise "
                "trainer.budget, trainer.max_epochs or trainer.max_steps to go on"
            )
        outcome = {
            "valid": checkpoints.best_score,
            "stopped_by": _stopped_by(trainer, clock, config.trainer.epoch_limit),
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
    if planner.dropouts is not None:
        metrics["dropouts"] = {name: round(value, 4) for name, value in planner.dropouts.items()}
    if clock.budget is not None:
        metrics["budget"] = _used(clock.budget, clock, curves, planner) | {"ended_by": metrics.get("stopped_by")}
    _finish(trainer, config, metrics, run_dir)
    if config.trainer.overfit_one_batch:
        check_overfit(curves)
    return metrics


def _finish(trainer: L.Trainer, config: TrainConfig, metrics: dict[str, Any], run_dir: Path) -> None:
    """Write ``metrics.json``, and the hyperparameters with the final figure to TensorBoard."""
    if isinstance(trainer.logger, TensorBoardLogger) and "valid" in metrics:
        trainer.logger.log_hyperparams(
            _flat(asdict(config)), {"final/valid_perplexity": metrics["valid"]["perplexity"]}
        )
        trainer.logger.finalize("success")
    write_json(run_dir / "metrics.json", metrics)


def _used(budget: float, clock: TimeBudget, curves: TrainingMetrics, planner: EpochPlanner) -> dict[str, Any]:
    """What was made of the budget."""
    used, validating = clock.elapsed(), clock.validation_seconds
    if used > budget:
        log.warning(
            "the budget of %.0f s was exceeded by %.0f s: of the %.0f s used, %.0f went into validations",
            budget,
            used - budget,
            used,
            validating,
        )
    first, epochs = planner.tokens_per_second, planner.epochs
    return {
        "seconds": budget,
        "used_seconds": round(used, 1),
        "validation_seconds": round(validating, 1),
        "first_tokens_per_second": None if first is None else round(first, 1),
        "tokens_per_second": round(curves.tokens / max(used - validating, 1e-9), 1),
        "planned_epochs": None if epochs is None else round(epochs, 3),
        "epochs": round(curves.tokens / curves.epoch_tokens, 3),
    }


def _stopped_by(trainer: L.Trainer, clock: TimeBudget, limit: int) -> str:
    if clock.exhausted:
        return "budget"
    if trainer.max_steps > 0 and trainer.global_step >= trainer.max_steps:
        return "max_steps"
    if trainer.current_epoch >= limit:
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
