"""Progress of a run in time and in steps, and the time budget that ends it."""

import time
from itertools import islice
from typing import Any

import lightning as L
import torch
from typing_extensions import override

from lstm_lm.data.streams import EvalWindows
from lstm_lm.training.module import LanguageModelModule

_PROBE_AFTER = 3  # steps; the first ones are slow
_PROBE_WINDOWS = 3
# time reserved for the last validation, as a multiple of validation_time; the estimate from a few windows does not
# include the checkpoints written after a validation
_MARGIN_ESTIMATED = 1.3
_MARGIN_MEASURED = 1.15


class TimeBudget(L.Callback):
    """Measures a run across interruptions, and ends it with a last validation when its time or steps run out.

    With a budget, it also skips validations that would take too much of it, but never the last one. With several
    processes, the clock of rank 0 decides. Must be the first callback, so that the work of other callbacks after a
    validation counts towards its time.

    Args:
        budget: Seconds for training and its validations together; ``None`` is no limit.
        max_val_fraction: Largest fraction of the elapsed time that validations before the last one may take.

    Attributes:
        exhausted: Whether the budget ended the run.
        validation_time: Seconds per validation, including the callbacks that follow it; 0 until it is known.
    """

    def __init__(self, budget: float | None, max_val_fraction: float = 0.1) -> None:
        self.budget = budget
        self.max_val_fraction = max_val_fraction
        self.exhausted = False
        self.validation_time = 0.0
        self._margin = _MARGIN_ESTIMATED
        self._previous_seconds = 0.0  # by the run that this one resumes
        self._started_at: float | None = None
        self._step_elapsed = 0.0  # read once per step and broadcast, so that all processes agree
        self._steps = 0
        self._validation_started_at: float | None = None
        self._past_validation_time = 0.0
        self._finished = False  # including the last validation: a resumed run has nothing left to do

    def start(self) -> None:
        """Start counting, unless started already; setup before the first step is part of the budget."""
        if self._started_at is None:
            self._started_at = time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training and validations so far, including those before a resume."""
        return self._previous_seconds + (0.0 if self._started_at is None else time.monotonic() - self._started_at)

    @property
    def total_validation_time(self) -> float:
        """Seconds of all validations so far."""
        return self._past_validation_time + (0.0 if self._validation_started_at is None else self.validation_time)

    @property
    def training_deadline(self) -> float:
        """Elapsed seconds at which the last validation starts; only with a budget."""
        assert self.budget is not None
        return max(self.budget - self._margin * self.validation_time, 1e-9)

    def fraction(self, step: int, total_steps: float) -> float:
        """Completed fraction of the run, in [0, 1]: by steps or by time, whichever is larger.

        Args:
            step: Optimizer steps taken.
            total_steps: Steps after which the run ends; may be ``inf``.
        """
        by_time = self._step_elapsed / self.training_deadline if self.budget else 0.0
        return min(max(step / total_steps, by_time), 1.0)

    def should_validate(self) -> bool:
        """Whether an extra validation stays within ``max_val_fraction`` and well before the last one."""
        if not self.validation_time:
            return False
        within_fraction = self.total_validation_time + self.validation_time <= self.max_val_fraction * (
            self._step_elapsed + self.validation_time
        )
        return within_fraction and self.training_deadline - self._step_elapsed > 2.0 * self.validation_time

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start()
        self._step_elapsed = self.elapsed()
        if self._finished:
            trainer.should_stop = True

    @override
    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        self._end_validation()

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
            times = self.elapsed(), self.validation_time, self._past_validation_time
            self._step_elapsed, self.validation_time, self._past_validation_time = trainer.strategy.broadcast(times)
            self.exhausted = self._step_elapsed >= self.training_deadline
            ends = ends or self.exhausted
            # Lightning's own flag for skipping a validation; it resets it after each step
            trainer.fit_loop.epoch_loop._skip_next_val = not (ends or self.should_validate())
        # with should_stop, Lightning validates before it ends; at max_steps it does not, nor after the last epoch if
        # val_check_interval does not divide the number of windows
        if ends:
            trainer.should_stop = True

    @torch.no_grad()
    def _probe(self, trainer: L.Trainer, module: LanguageModelModule) -> float:
        """Estimate the seconds of a validation from its first windows, without drawing random numbers."""
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
        self._validation_started_at = time.monotonic()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # so that the checkpoint includes this validation; on_train_batch_start adds the remaining callbacks
        self._measure_validation()
        self._finished = self.exhausted

    def _measure_validation(self) -> None:
        assert self._validation_started_at is not None
        self.validation_time, self._margin = time.monotonic() - self._validation_started_at, _MARGIN_MEASURED

    def _end_validation(self) -> None:
        if self._validation_started_at is not None:
            self._measure_validation()
            self._past_validation_time += self.validation_time
            self._validation_started_at = None

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end_validation()
        self._previous_seconds, self._started_at = self.elapsed(), None

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "elapsed_seconds": self.elapsed(),
            "validation_seconds": self.total_validation_time,
            "validation_time": self.validation_time,
            "margin": self._margin,
            "budget": self.budget,
            "finished": self._finished,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._previous_seconds = self._step_elapsed = float(state_dict["elapsed_seconds"])
        self._past_validation_time = float(state_dict["validation_seconds"])
        self.validation_time = float(state_dict["validation_time"])
        self._margin = float(state_dict["margin"])
        budget_raised = self.budget is None or (state_dict["budget"] or 0.0) < self.budget
        self._finished = state_dict["finished"] and not budget_raised
