"""Estimates the epochs of a run from its first steps, and scales the settings to them."""

import logging
from dataclasses import asdict
from typing import Any

import lightning as L
from typing_extensions import override

from lstm_lm.nn.config import ModelConfig
from lstm_lm.training.budget import DROPOUTS, Scaling, planned_epochs, scale_dropouts, scaling
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.callbacks.training_metrics import TrainingMetrics
from lstm_lm.training.config import TrainerConfig
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.optimizers import rescale
from lstm_lm.training.steps import steps_per_epoch

log = logging.getLogger(__name__)

_SKIPPED_STEPS = 3  # slow first steps of a process, not measured
_MEASURED_STEPS = 10
_MEASURED_FRACTION = 0.01  # of the budget
_MEASURED_SECONDS = 60.0  # at most


class EpochPlanner(L.Callback):
    """Plans the number of epochs of a run, and scales its settings to it if ``reference_epochs`` is set.

    With a budget, the number follows from the throughput of the first steps: at least ten steps and a hundredth of the
    budget, but at most a minute. Until then the settings of the config apply. A resumed run keeps the plan unless its
    budget differs.

    Args:
        config: Budget, validation settings, ``reference_epochs`` and ``reference_steps``.
        model: Model config, including its dropouts.
        time_budget: Must come before this callback, like ``training_metrics``.
        training_metrics: Counts the tokens.

    Attributes:
        tokens_per_second: Throughput of the first steps; ``None`` without a budget, or until it is known.
        epochs: Planned epochs; ``None`` until they are known.
        scaling: Multipliers of the config's settings; ``None`` if they apply unchanged.
    """

    def __init__(
        self,
        config: TrainerConfig,
        model: ModelConfig,
        time_budget: TimeBudget,
        training_metrics: TrainingMetrics,
    ) -> None:
        self.config = config
        self.model = model
        self.time_budget = time_budget
        self.training_metrics = training_metrics
        self.tokens_per_second: float | None = None
        self.epochs: float | None = None
        self.scaling: Scaling | None = None
        self._planned = False
        self._steps = 0
        self._skipped = (0, 0.0)  # tokens and seconds of the skipped steps

    @property
    def dropouts(self) -> dict[str, float]:
        """The dropouts of the run, by name."""
        model = self.model if self.scaling is None else scale_dropouts(self.model, self.scaling.dropout)
        return {name: getattr(model, name) for name in DROPOUTS}

    @override
    def on_train_start(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule
    ) -> None:
        if self.scaling is not None:
            pl_module.model.set_dropouts(scale_dropouts(self.model, self.scaling.dropout))
        if self.time_budget.budget is None and not self._planned:
            self._plan(_max_epochs(trainer), trainer, pl_module)

    @override
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule, *args: Any, **kwargs: Any
    ) -> None:
        if self._planned or self.time_budget.budget is None:
            return
        self._steps += 1
        tokens, seconds = self.training_metrics.measured_tokens, self.training_metrics.training_seconds
        if tokens == self._skipped[0]:
            return  # on a GPU, time is measured only every log_every_n_steps
        if self._steps <= _SKIPPED_STEPS or not self._skipped[0]:
            self._skipped = (tokens, seconds)
            return
        tokens, seconds = tokens - self._skipped[0], seconds - self._skipped[1]
        min_seconds = min(_MEASURED_FRACTION * self.time_budget.budget, _MEASURED_SECONDS)
        if not trainer.strategy.broadcast(self._steps >= _SKIPPED_STEPS + _MEASURED_STEPS and seconds >= min_seconds):
            return
        self.tokens_per_second = trainer.strategy.broadcast(tokens / max(seconds, 1e-9))
        epochs = self.training_metrics.epochs + planned_epochs(
            max(self.time_budget.training_deadline - self.time_budget.elapsed(), 0.0),
            self.tokens_per_second,
            self.training_metrics.epoch_tokens,
            self.time_budget.validation_time,
            self.config.val_check_interval,
            self.time_budget.max_val_fraction,
        )
        epochs = min(epochs, _max_epochs(trainer))
        rate = f"{self.tokens_per_second:,.0f}"
        log.info("%s tokens/s in the first steps: %.2f epochs fit into the budget", rate, epochs)
        self._plan(trainer.strategy.broadcast(epochs), trainer, pl_module)

    def _plan(self, epochs: float, trainer: L.Trainer, module: LanguageModelModule) -> None:
        self._planned, self.epochs = True, epochs
        reference_epochs, reference_steps = self.config.reference_epochs, self.config.reference_steps
        if reference_epochs is None:
            return
        before, steps = self.scaling or Scaling(), epochs * steps_per_epoch(trainer)
        words_per_token = module.model.vocab_size / self.training_metrics.epoch_tokens
        self.scaling = scaling(epochs, steps, reference_epochs, reference_steps, words_per_token)
        module.model.set_dropouts(scale_dropouts(self.model, self.scaling.dropout))
        dropouts = ", ".join(f"{name} {value:.2f}" for name, value in self.dropouts.items())
        factor = self.scaling.dropout
        log.info("dropouts were tuned for %g epochs and are multiplied by %.2f: %s", reference_epochs, factor, dropouts)
        if reference_steps is None:
            return
        # what a resumed run has restored is scaled already
        for optimizer, configured in zip(trainer.optimizers, trainer.lr_scheduler_configs, strict=True):
            rescale(optimizer, configured.scheduler, self.scaling.relative_to(before))
        lengths = f"{reference_steps:,} steps, and this run has about {steps:,.0f}"
        factors = f"lr x {self.scaling.lr:.2f}, weight_decay x {self.scaling.weight_decay:.2f}"
        log.info("the optimizer was tuned for %s: %s, memory x %.2f", lengths, factors, self.scaling.row_memory)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "budget": self.time_budget.budget,
            "planned": self._planned,
            "tokens_per_second": self.tokens_per_second,
            "epochs": self.epochs,
            "scaling": None if self.scaling is None else asdict(self.scaling),
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.tokens_per_second = state_dict["tokens_per_second"]
        self.epochs = state_dict["epochs"]
        # the run keeps its settings until there is a new plan
        saved = state_dict["scaling"]
        self.scaling = None if saved is None else Scaling(**saved)
        self._planned = state_dict["planned"] and state_dict["budget"] == self.time_budget.budget


def _max_epochs(trainer: L.Trainer) -> float:
    return trainer.estimated_stepping_batches / steps_per_epoch(trainer)
