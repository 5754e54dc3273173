"""The content of a run's ``metrics.json``."""

import logging
from dataclasses import asdict
from typing import Any

import lightning as L
import torch

from lstm_lm.checkpoint import BEST, CHECKPOINTS
from lstm_lm.training.callbacks.text_samples import TextSamples
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.config import TrainConfig
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.run_folder import limits
from lstm_lm.training.trainer import RunCallbacks

log = logging.getLogger(__name__)


def run_metrics(
    config: TrainConfig, trainer: L.Trainer, module: LanguageModelModule, callbacks: RunCallbacks
) -> dict[str, Any]:
    """What a finished run reached, and what it took; warns if it took longer than its budget."""
    time_budget, training_metrics, planner = callbacks.time_budget, callbacks.training_metrics, callbacks.epoch_planner
    metadata = module.metadata
    metrics = _outcome(config, trainer, callbacks) | {
        "epochs": round(training_metrics.epochs, 3),
        "steps": trainer.global_step,
        "wall_seconds": round(time_budget.elapsed(), 1),
        "tokens_per_second": round(training_metrics.mean_tokens_per_second, 1),
        "precision": metadata.run["precision"],
        "threads": torch.get_num_threads(),
        "parameters": module.model.num_parameters,
        "vocabulary": len(metadata.vocabulary),
        "seed": module.seed,
        "history": training_metrics.history,
        "versions": metadata.run["versions"],
    }
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, TextSamples) and callback.latest:
            metrics["samples"] = {"prompt": callback.prompt, "texts": callback.latest}
    if metadata.init_from is not None:
        metrics["init_from"] = asdict(metadata.init_from)
    if planner.scaling is not None:
        metrics["dropouts"] = {name: round(value, 4) for name, value in planner.dropouts.items()}
        metrics["scaling"] = {name: round(value, 4) for name, value in asdict(planner.scaling).items()}
    if time_budget.budget is not None:
        ended_by = metrics.get("stopped_by")
        metrics["budget"] = _budget_summary(time_budget.budget, callbacks) | {"ended_by": ended_by}
    return metrics


def _outcome(config: TrainConfig, trainer: L.Trainer, callbacks: RunCallbacks) -> dict[str, Any]:
    training_metrics = callbacks.training_metrics
    if config.trainer.overfit_one_batch:
        losses = {"first_loss": training_metrics.first_loss, "last_loss": training_metrics.last_loss}
        return {"overfit": losses}
    return {
        "valid": callbacks.checkpoints.best_score,
        "valid_streams": config.batching.eval_batch_size,
        "stopped_by": _stopped_by(trainer, callbacks.time_budget, config.trainer.epoch_limit),
        "limits": limits(config.trainer),
        "best_checkpoint": f"{CHECKPOINTS}/{BEST}",
    }


def _budget_summary(budget: float, callbacks: RunCallbacks) -> dict[str, Any]:
    """How the budget was spent; warns if it was exceeded."""
    time_budget, planner = callbacks.time_budget, callbacks.epoch_planner
    used, validating = time_budget.elapsed(), time_budget.total_validation_time
    if used - budget >= 1.0:  # less is the end of the last step
        log.warning(
            "the budget of %.0f s was exceeded by %.0f s: of the %.0f s used, validations took %.0f s",
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
        "tokens_per_second": round(callbacks.training_metrics.tokens / max(used - validating, 1e-9), 1),
        "planned_epochs": None if epochs is None else round(epochs, 3),
        "epochs": round(callbacks.training_metrics.epochs, 3),
    }


def _stopped_by(trainer: L.Trainer, time_budget: TimeBudget, max_epochs: int) -> str:
    if time_budget.exhausted:
        return "budget"
    if trainer.max_steps > 0 and trainer.global_step >= trainer.max_steps:
        return "max_steps"
    if trainer.current_epoch >= max_epochs:
        return "max_epochs"
    return "early_stopping"
