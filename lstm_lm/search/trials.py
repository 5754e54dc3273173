"""Run one trial: a training per seed, reported at each validation and stopped if it is pruned."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import optuna
from optuna.trial import Trial
from typing_extensions import override

from lstm_lm.search.study import SEED_VALUES

RunTraining = Callable[[list[str], list[L.Callback]], float]
"""Trains with overrides and additional callbacks; returns the best valid perplexity."""


class Pruning(L.Callback):
    """Reports the valid perplexity to a trial, and ends the training if the trial is pruned.

    Args:
        trial: The trial.

    Attributes:
        pruned: Whether the trial was pruned.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.pruned = False
        self._validations = 0

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._validations += 1
        self.trial.report(float(trainer.callback_metrics["valid/perplexity"]), self._validations)
        if self.trial.should_prune():
            self.pruned = trainer.should_stop = True

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = int(state_dict["validations"])


def run_trial(trial: Trial, overrides: Sequence[str], folder: Path, seeds: int, train: RunTraining) -> float:
    """Train a trial with each seed.

    Args:
        trial: The trial.
        overrides: The overrides of all its trainings.
        folder: Gets one run folder per seed. A trial that is repeated continues what is in it.
        seeds: Number of seeds, from 1 on. Only the first one can be pruned.
        train: Runs one training.

    Returns:
        The mean of the valid perplexities.

    Raises:
        optuna.TrialPruned: If the trial was pruned.
    """
    values = []
    for seed in range(1, seeds + 1):
        pruning = Pruning(trial)
        run_dir = folder / f"seed-{seed}"
        settings = [f"seed={seed}", "resume=auto", f"hydra.run.dir={run_dir}"]
        values.append(train([*overrides, *settings], [pruning] if seed == 1 else []))
        if pruning.pruned:
            raise optuna.TrialPruned
        trial.set_user_attr(SEED_VALUES, values)
    return statistics.fmean(values)
