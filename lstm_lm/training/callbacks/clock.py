"""How far a run is, in time and in steps."""

import time
from typing import Any

import lightning as L
from typing_extensions import override


class RunClock(L.Callback):
    """Measures a run, across interruptions, and ends it with a last validation when its time or its steps are over.

    Args:
        limit_seconds: Wall time for training and its validations together; ``None`` is no limit.
    """

    def __init__(self, limit_seconds: float | None) -> None:
        self.limit_seconds = limit_seconds
        self.ran_out = False
        self._before = 0.0
        self._started: float | None = None
        self._validation_started = 0.0
        self._validation_seconds = 0.0

    def elapsed(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self._before + (0.0 if self._started is None else time.monotonic() - self._started)

    def fraction(self, step: int, total_steps: float) -> float:
        """Share of the run that is done, in [0, 1]: by steps or by time, whichever is further.

        Args:
            step: Optimizer steps taken.
            total_steps: Steps at which the run ends; may be ``inf``.
        """
        by_steps = step / total_steps
        by_time = self.elapsed() / self._learning_seconds() if self.limit_seconds else 0.0
        return min(max(by_steps, by_time), 1.0)

    def _learning_seconds(self) -> float:
        # the last validation counts too: what the previous one took is kept back for it
        assert self.limit_seconds is not None
        return max(self.limit_seconds - self._validation_seconds, 1e-9)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.monotonic()

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validation_started = time.monotonic()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validation_seconds = time.monotonic() - self._validation_started

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.ran_out = self.limit_seconds is not None and self.elapsed() >= self._learning_seconds()
        # asked to stop, Lightning validates first; at max_steps it would end without
        if self.ran_out or trainer.global_step == trainer.max_steps:
            trainer.should_stop = True

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._before, self._started = self.elapsed(), None

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"elapsed_seconds": self.elapsed(), "validation_seconds": self._validation_seconds}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = float(state_dict["elapsed_seconds"])
        self._validation_seconds = float(state_dict["validation_seconds"])
