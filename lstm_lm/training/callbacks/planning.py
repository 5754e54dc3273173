"""Estimates the epochs of a run from its first steps, and scales the dropouts to them."""

import logging
from typing import Any

import lightning as L
from typing_extensions import override

from lstm_lm.nn.config import ModelConfig
from lstm_lm.training.budget import DROPOUTS, dropout_factor, planned_epochs, scale_dropouts
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.callbacks.training_metrics import TrainingMetrics
from lstm_lm.training.config import TrainerConfig
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.steps import steps_per_epoch

log = logging.getLogger(__name__)

_SKIPPED_STEPS = 3  # slow first steps of a process, not measured
_MEASURED_STEPS = 10
_MEASURED_FRACTION = 0.01  # of the budget
_MEASURED_SECONDS = 60.0  # at most


class EpochPlanner(L.Callback):
    """Plans the number of epochs of a run, and scales its dropouts to it if ``dropout_reference_epochs`` is set.

    With a budget, the number follows from the throughput of the first steps: at least ten steps and a hundredth of the
    budget, but at most a minute. Until then the dropouts of the config apply. A resumed run keeps the plan unless its
    budget differs.

    Args:
        config: Budget, validation settings and ``dropout_reference_epochs``.
        model: Model config, including its dropouts.
        time_budget: Must come before this callback, like ``training_metrics``.
        training_metrics: Counts the tokens.

    Attributes:
        tokens_per_second: Throughput of the first steps; ``None`` without a budget, or until it is known.
        epochs: Planned epochs; ``None`` until they are known.
        factor: Multiplier of the config's dropouts; ``None`` if they apply unchanged.
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
        self.factor: float | None = None
        self._planned = False
        self._steps = 0
        self._skipped = (0, 0.0)  # tokens and seconds of the skipped steps

    @property
    def dropouts(self) -> dict[str, float] | None:
        """The scaled dropouts and their factor; ``None`` if the config's dropouts apply unchanged."""
        if self.factor is None:
            return None
        scaled = scale_dropouts(self.model, self.factor)
        return {"factor": self.factor} | {name: getattr(scaled, name) for name in DROPOUTS}

    @override
    def on_train_start(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule
    ) -> None:
        if self.factor is not None:
            pl_module.model.set_dropouts(scale_dropouts(self.model, self.factor))
        if self.time_budget.budget is None and not self._planned:
            self._plan(_max_epochs(trainer), pl_module)

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
        epochs = self.training_metrics.tokens / self.training_metrics.epoch_tokens + planned_epochs(
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
        self._plan(trainer.strategy.broadcast(epochs), pl_module)

    def _plan(self, epochs: float, module: LanguageModelModule) -> None:
        self._planned, self.epochs = True, epochs
        if self.config.dropout_reference_epochs is None:
            return
        self.factor = dropout_factor(epochs, self.config.dropout_reference_epochs)
        module.model.set_dropouts(scale_dropouts(self.model, self.factor))
        log.info(
            "dropouts were chosen for %g epochs and are multiplied by %.2f: %s",
            self.config.dropout_reference_epochs,
            self.factor,
            ", ".join(f"{name} {value:.2f}" for name, value in (self.dropouts or {}).items() if name != "factor"),
        )

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "budget": self.time_budget.budget,
            "planned": self._planned,
            "tokens_per_second": self.tokens_per_second,
            "epochs": self.epochs,
            "factor": self.factor,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.tokens_per_second = state_dict["tokens_per_second"]
        self.epochs = state_dict["epochs"]
        # the network keeps its dropouts until there is a new plan
        self.factor = state_dict["factor"]
        self._planned = state_dict["planned"] and state_dict["budget"] == self.time_budget.budget


def _max_epochs(trainer: L.Trainer) -> float:
    return trainer.estimated_stepping_batches / steps_per_epoch(trainer)
