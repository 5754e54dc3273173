"""Progress of a run in time and in steps, and the time budget that ends it."""

import time
from itertools import islice
from typing import Any

import lightning as L
import torch
from typing_extensions import override

from lstm_lm.data.streams import EvalWindows
from lstm_lm.nn.device import wait_for
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.steps import completed_step, nearly_ended, validate_after_steps

_PROBE_AFTER = 3  # steps; the first ones are slow
_PROBE_WINDOWS = 3
# time reserved for the last validation, as a multiple of validation_time; the estimate from a few windows does not
# include the checkpoints written after a validation
_MARGIN_ESTIMATED = 1.3
_MARGIN_MEASURED = 1.15
_MIN_TRAINING = 0.5  # of the budget: the least share that is training
_PROBE_FRACTION = 0.01  # of the budget: time limit of the probe
_GRACE = 0.05  # of the budget: tolerance for the last validation
_OVERRUN = 2.0  # a validation before the last one is stopped after this multiple of its estimated time


class TimeBudget(L.Callback):
    """Measures a run across interruptions, and ends it with a last validation when its time or steps run out.

    It skips a validation that the last one follows within half of the interval between two. With a budget, it also
    skips validations that would take too much of it, but never the last one. At least half of the budget is training:
    the last validation scores as many of the first windows of valid as fit into the rest, and a validation that becomes
    too slow is stopped early. With several processes, the clock of rank 0 decides.
    Must come before the callbacks that work after a validation, so that their work counts towards its time.

    Args:
        budget: Seconds for training and its validations together; ``None`` is no limit.
        max_val_fraction: Largest fraction of the elapsed time that validations before the last one may take.

    Attributes:
        exhausted: Whether the budget ended the run.
        validation_time: Seconds per validation of all windows, including the callbacks that follow it; 0 until it is
            known.
    """

    def __init__(self, budget: float | None, max_val_fraction: float = 0.1) -> None:
        self.budget = budget
        self.max_val_fraction = max_val_fraction
        self.exhausted = False
        self.validation_time = 0.0
        self._margin = _MARGIN_ESTIMATED
        self._previous_seconds = 0.0  # by the run that this one resumes
        self._setup_seconds = 0.0  # before the first step, of each process
        self._started_at: float | None = None
        self._step_elapsed = 0.0  # read once per step and broadcast, so that all processes agree
        self._steps = 0
        self._last = False  # whether the next validation is the last one
        self._validation_started_at: float | None = None
        self._validation_deadline = 0.0  # elapsed seconds at which it is stopped
        self._planned_windows = 0
        self._scored_windows = 0
        self._spent = 0.0  # seconds of the current validation
        self._window_seconds = 0.0  # part of _spent: up to the end of the last window
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
        return self._past_validation_time + (0.0 if self._validation_started_at is None else self._spent)

    @property
    def training_deadline(self) -> float:
        """Elapsed seconds at which the last validation starts; only with a budget."""
        assert self.budget is not None
        earliest = self._setup_seconds + _MIN_TRAINING * self.budget + self.total_validation_time
        return max(self.budget - self._margin * self.validation_time, earliest)

    def fraction(self, step: int, total_steps: float) -> float:
        """Completed fraction of the run, in [0, 1]: by steps or by time, whichever is larger.

        Args:
            step: Optimizer steps taken.
            total_steps: Steps after which the run ends; may be ``inf``.
        """
        by_time = self._step_elapsed / self.training_deadline if self.budget else 0.0
        return min(max(step / total_steps, by_time), 1.0)

    def should_validate(self) -> bool:
        """Whether a validation now stays within ``max_val_fraction`` and well before the last one."""
        if not self.validation_time:
            return False
        assert self.budget is not None
        within_half = self.total_validation_time + _OVERRUN * self.validation_time <= _MIN_TRAINING * self.budget
        within_fraction = self.total_validation_time + self.validation_time <= self.max_val_fraction * (
            self._step_elapsed + self.validation_time
        )
        return (
            within_half and within_fraction and self.training_deadline - self._step_elapsed > 2.0 * self.validation_time
        )

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        validate_after_steps(trainer)
        self.start()
        self._step_elapsed = self.elapsed()
        self._setup_seconds += self._step_elapsed - self._previous_seconds
        if self._finished or self.exhausted:
            trainer.should_stop = True

    @override
    def on_train_batch_start(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        self._end_validation(trainer)

    @override
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._steps += 1
        if not completed_step(trainer):
            return
        last_epoch = trainer.current_epoch + 1 == trainer.max_epochs and trainer.is_last_batch
        ends = last_epoch or trainer.global_step == trainer.max_steps
        validates = not nearly_ended(trainer)
        if self.budget is not None:
            if not self.validation_time and self._steps >= _PROBE_AFTER and trainer.enable_validation:
                self.validation_time = self._probe(trainer, pl_module)
            times = self.elapsed(), self.validation_time, self._past_validation_time
            self._step_elapsed, self.validation_time, self._past_validation_time = trainer.strategy.broadcast(times)
            self.exhausted = self._step_elapsed >= self.training_deadline
            ends = ends or self.exhausted
            validates = validates and self.should_validate()
        # Lightning's own flag for skipping a validation; it resets it after each step
        trainer.fit_loop.epoch_loop._skip_next_val = not (ends or validates)
        # with should_stop, Lightning validates before it ends; at max_steps it does not, nor after the last epoch if
        # val_check_interval does not divide the number of windows
        self._last = ends
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
                float(module.scorer.metric.nll)  # waits for an asynchronous device
                seconds.append(time.monotonic() - begin)
                if sum(seconds) > _PROBE_FRACTION * (self.budget or 0.0):
                    break
        module.train()
        measured = seconds[1:] or seconds
        return sum(trainer.num_val_batches) * sum(measured) / len(measured)

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        wait_for(pl_module.device)  # the training steps that a GPU still has to do are no part of the validation
        self._validation_started_at = time.monotonic()
        self._planned_windows = num_windows = int(sum(trainer.num_val_batches))
        self._scored_windows = 0
        self._spent = self._window_seconds = 0.0
        if self.budget is None:
            return
        elapsed = self.elapsed()
        if not self._last:
            self._validation_deadline = elapsed + _OVERRUN * self.validation_time
            return
        left = max(self.budget - elapsed, _GRACE * self.budget)
        self._validation_deadline = elapsed + left + _GRACE * self.budget
        if self.validation_time > left:
            share = left / (self._margin * self.validation_time)
            self._planned_windows = max(int(share * num_windows), 1)
        self._planned_windows = trainer.strategy.broadcast(self._planned_windows)

    @override
    def on_validation_batch_start(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if self.budget is not None and self._scored_windows:
            overruns = trainer.strategy.broadcast(self.elapsed() >= self._validation_deadline)
            if overruns or self._scored_windows >= self._planned_windows:
                raise StopIteration  # ends Lightning's loop over the windows; the score covers the windows before
        self._scored_windows += 1

    @override
    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        assert self._validation_started_at is not None
        self._window_seconds = time.monotonic() - self._validation_started_at

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # so that the checkpoint includes this validation; on_train_batch_start adds the remaining callbacks
        self._measure_validation(trainer)
        self._finished = self.exhausted

    def _measure_validation(self, trainer: L.Trainer) -> None:
        assert self._validation_started_at is not None
        self._spent = time.monotonic() - self._validation_started_at
        share = self._scored_windows / max(sum(trainer.num_val_batches), 1)
        # the callbacks after a validation take the same time, however many windows it has scored
        self.validation_time = self._spent + self._window_seconds * (1.0 / max(share, 1e-9) - 1.0)
        self._margin = _MARGIN_MEASURED

    def _end_validation(self, trainer: L.Trainer) -> None:
        if self._validation_started_at is not None:
            self._measure_validation(trainer)
            self._past_validation_time += self._spent
            self._validation_started_at = None

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end_validation(trainer)
        self._previous_seconds, self._started_at = self.elapsed(), None

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "elapsed_seconds": self.elapsed(),
            "validation_seconds": self.total_validation_time,
            "validation_time": self.validation_time,
            "margin": self._margin,
            "setup_seconds": self._setup_seconds,
            "budget": self.budget,
            "exhausted": self.exhausted,
            "last": self._last,
            "finished": self._finished,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._previous_seconds = self._step_elapsed = float(state_dict["elapsed_seconds"])
        self._past_validation_time = float(state_dict["validation_seconds"])
        self.validation_time = float(state_dict["validation_time"])
        self._margin = float(state_dict["margin"])
        self._setup_seconds = float(state_dict.get("setup_seconds", 0.0))
        before = state_dict["budget"]
        budget_raised = before != self.budget and (self.budget is None or (before or 0.0) < self.budget)
        self._finished = state_dict["finished"] and not budget_raised
        # needed if the run resumes just before a validation
        self.exhausted = state_dict.get("exhausted", False) and not budget_raised
        self._last = state_dict.get("last", False) and not budget_raised
