"""How many epochs a run will have, measured in its first steps, and the dropouts that suit them."""

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

log = logging.getLogger(__name__)

_SLOW_STEPS = 3  # at the start of a process, and not counted
_MEASURED_STEPS = 10
_MEASURED_SHARE = 0.01  # of the budget
_MEASURED_SECONDS = 60.0  # at most


class EpochPlanner(L.Callback):
    """Plans the number of epochs of a run, and fits its dropouts to it if ``dropout_reference_epochs`` is given.

    With a budget the number follows from the throughput of the first steps: ten of them and a hundredth of the
    budget, at most a minute; until then the dropouts are as they are in the config. The plan is kept across a
    resume, unless the budget is another.

    Args:
        config: Budget, validations and the number of epochs that the dropouts are meant for.
        model: Sizes and dropouts of the network.
        clock: Comes before this callback, as does ``curves``.
        curves: Counts the tokens.

    Attributes:
        tokens_per_second: Speed of the first steps; ``None`` without a budget, or before it is known.
        epochs: Epochs planned; ``None`` before they are known.
        factor: What the dropouts of the config are multiplied by; ``None`` as long as they are as they are.
    """

    def __init__(self, config: TrainerConfig, model: ModelConfig, clock: TimeBudget, curves: TrainingMetrics) -> None:
        self.config = config
        self.model = model
        self.clock = clock
        self.curves = curves
        self.tokens_per_second: float | None = None
        self.epochs: float | None = None
        self.factor: float | None = None
        self._planned = False
        self._steps = 0
        self._first = (0, 0.0)  # tokens and seconds of the slow steps

    @property
    def dropouts(self) -> dict[str, float] | None:
        """The dropouts in use and the factor that made them; ``None`` if they are those of the config."""
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
        if self.clock.budget is None and not self._planned:
            self._plan(_most_epochs(trainer), pl_module)

    @override
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule, *args: Any, **kwargs: Any
    ) -> None:
        if self._planned or self.clock.budget is None:
            return
        self._steps += 1
        tokens, seconds = self.curves.measured_tokens, self.curves.training_seconds
        if self._steps <= _SLOW_STEPS:
            self._first = (tokens, seconds)
            return
        tokens, seconds = tokens - self._first[0], seconds - self._first[1]
        enough = min(_MEASURED_SHARE * self.clock.budget, _MEASURED_SECONDS)
        if not trainer.strategy.broadcast(self._steps >= _SLOW_STEPS + _MEASURED_STEPS and seconds >= enough):
            return
        self.tokens_per_second = trainer.strategy.broadcast(tokens / max(seconds, 1e-9))
        epochs = self.curves.tokens / self.curves.epoch_tokens + planned_epochs(
            max(self.clock.learning_seconds - self.clock.elapsed(), 0.0),
            self.tokens_per_second,
            self.curves.epoch_tokens,
            self.clock.validation_time,
            self.config.val_check_interval,
            self.clock.max_val_fraction,
        )
        epochs = min(epochs, _most_epochs(trainer))
        rate = f"{self.tokens_per_second:,.0f}"
        log.info("%s tokens/s in the first steps: the budget gives %.2f epochs", rate, epochs)
        self._plan(trainer.strategy.broadcast(epochs), pl_module)

    def _plan(self, epochs: float, module: LanguageModelModule) -> None:
        self._planned, self.epochs = True, epochs
        if self.config.dropout_reference_epochs is None:
            return
        self.factor = dropout_factor(epochs, self.config.dropout_reference_epochs)
        module.model.set_dropouts(scale_dropouts(self.model, self.factor))
        log.info(
            "dropouts are meant for %g epochs, so they are multiplied by %.2f: %s",
            self.config.dropout_reference_epochs,
            self.factor,
            ", ".join(f"{name} {value:.2f}" for name, value in (self.dropouts or {}).items() if name != "factor"),
        )

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "budget": self.clock.budget,
            "planned": self._planned,
            "tokens_per_second": self.tokens_per_second,
            "epochs": self.epochs,
            "factor": self.factor,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.tokens_per_second = state_dict["tokens_per_second"]
        self.epochs = state_dict["epochs"]
        # until the new plan is made, the network goes on with what it had
        self.factor = state_dict["factor"]
        self._planned = state_dict["planned"] and state_dict["budget"] == self.clock.budget


def _most_epochs(trainer: L.Trainer) -> float:
    return trainer.estimated_stepping_batches / trainer.num_training_batches
