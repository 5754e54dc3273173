"""How far a run is, in time and in steps."""

import time
from itertools import islice
from typing import Any

import lightning as L
import torch
from typing_extensions import override

from lstm_lm.data.streams import EvalWindows
from lstm_lm.training.module import LanguageModelModule

_PROBE_AFTER = 3  # steps: the first ones are slow
_PROBE_WINDOWS = 3
# what is kept back for the last validation, in validations: the estimate from a few windows knows nothing of the
# checkpoints that are written after it
_MARGIN_GUESSED = 1.3
_MARGIN_MEASURED = 1.15


class TimeBudget(L.Callback):
    """Measures a run, across interruptions, and ends it with a last validation when its time or its steps are over.

    With a budget it also leaves out validations that would take too much of it; the last one is always made. Of
    several processes the first one's clock counts for all. Must be the first callback, so that what the others do
    after a validation counts as part of it.

    Args:
        budget: Seconds for training and its validations together; ``None`` is no limit.
        max_val_fraction: Largest share of the time so far that validations before the last one may take.

    Attributes:
        exhausted: Whether the budget ended the run.
        validation_time: Seconds that a validation takes with all that belongs to it; 0 before this is known.
    """

    def __init__(self, budget: float | None, max_val_fraction: float = 0.1) -> None:
        self.budget = budget
        self.max_val_fraction = max_val_fraction
        self.exhausted = False
        self.validation_time = 0.0
        self._margin = _MARGIN_GUESSED
        self._before = 0.0
        self._started: float | None = None
        self._now = 0.0  # read once a step, so that all processes agree on it
        self._steps = 0
        self._paused_at: float | None = None
        self._pauses = 0.0
        self._finished = False  # with its last validation, so that a run that is resumed has nothing left to do

    def start(self) -> None:
        """Begin to count, if it has not begun: what prepares the learning is part of the budget."""
        if self._started is None:
            self._started = time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training and validations so far, those before a resume included."""
        return self._before + (0.0 if self._started is None else time.monotonic() - self._started)

    @property
    def validation_seconds(self) -> float:
        """Seconds of all validations so far."""
        return self._pauses + (0.0 if self._paused_at is None else self.validation_time)

    @property
    def learning_seconds(self) -> float:
        """Seconds until the last validation begins; only with a budget."""
        assert self.budget is not None
        return max(self.budget - self._margin * self.validation_time, 1e-9)

    def fraction(self, step: int, total_steps: float) -> float:
        """Share of the run that is done, in [0, 1]: by steps or by time, whichever is further.

        Args:
            step: Optimizer steps taken.
            total_steps: Steps at which the run ends; may be ``inf``.
        """
        by_time = self._now / self.learning_seconds if self.budget else 0.0
        return min(max(step / total_steps, by_time), 1.0)

    def should_validate(self) -> bool:
        """Whether a validation before the last one fits into its share, and is not about to be followed by the last."""
        if not self.validation_time:
            return False
        within_share = self.validation_seconds + self.validation_time <= self.max_val_fraction * (
            self._now + self.validation_time
        )
        return within_share and self.learning_seconds - self._now > 2.0 * self.validation_time

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start()
        self._now = self.elapsed()
        if self._finished:
            trainer.should_stop = True

    @override
    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        self._end_pause()

    @override
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._steps += 1
        last_epoch = trainer.current_epoch + 1 == trainer.max_epochs and trainer.is_last_batch
        ends = last_epoch or trainer.global_step == trainer.max_steps
        if self.budget is not None:
            if not self.validation_time and self._steps >= _PROBE_AFTER and trainer.enable_validation:
                self.validation_time = self._probe(trainer, pl_module)
            times = self.elapsed(), self.validation_time, self._pauses
            self._now, self.validation_time, self._pauses = trainer.strategy.broadcast(times)
            self.exhausted = self._now >= self.learning_seconds
            ends = ends or self.exhausted
            # Lightning's own way of leaving out a validation, which it resets after each step
            trainer.fit_loop.epoch_loop._skip_next_val = not (ends or self.should_validate())
        # asked to stop, Lightning validates first; at max_steps it would end without, and after the last epoch too
        # where val_check_interval does not divide its windows
        if ends:
            trainer.should_stop = True

    @torch.no_grad()
    def _probe(self, trainer: L.Trainer, module: LanguageModelModule) -> float:
        """How long a validation will take, from its first windows; it draws no random number."""
        windows = trainer.val_dataloaders
        assert isinstance(windows, EvalWindows)
        seconds = []
        module.eval()
        with trainer.precision_plugin.val_step_context():
            for index, window in enumerate(islice(windows, _PROBE_WINDOWS)):
                begin = time.monotonic()
                module.validation_step(trainer.strategy.batch_to_device(window), index)
                float(module.valid_metric.nll)  # waits for an asynchronous device
                seconds.append(time.monotonic() - begin)
        module.train()
        measured = seconds[1:] or seconds
        return sum(trainer.num_val_batches) * sum(measured) / len(measured)

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._paused_at = time.monotonic()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # so that the checkpoint knows about this validation; what is left of it is added afterwards
        self._measure_pause()
        self._finished = self.exhausted

    def _measure_pause(self) -> None:
        assert self._paused_at is not None
        self.validation_time, self._margin = time.monotonic() - self._paused_at, _MARGIN_MEASURED

    def _end_pause(self) -> None:
        if self._paused_at is not None:
            self._measure_pause()
            self._pauses, self._paused_at = self._pauses + self.validation_time, None

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end_pause()
        self._before, self._started = self.elapsed(), None

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "elapsed_seconds": self.elapsed(),
            "validation_seconds": self.validation_seconds,
            "validation_time": self.validation_time,
            "margin": self._margin,
            "budget": self.budget,
            "finished": self._finished,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = self._now = float(state_dict["elapsed_seconds"])
        self._pauses = float(state_dict["validation_seconds"])
        self.validation_time = float(state_dict["validation_time"])
        self._margin = float(state_dict["margin"])
        raised = self.budget is None or (state_dict["budget"] or 0.0) < self.budget
        self._finished = state_dict["finished"] and not raised
