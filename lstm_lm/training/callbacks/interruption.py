"""Keeping what was learnt when a run is stopped from outside."""

import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from typing_extensions import override

from lstm_lm.errors import TrainingInterruptedError

log = logging.getLogger(__name__)


class LastCheckpoint(L.Callback):
    """Keeps ``last.ckpt`` fresh: after each validation, every few minutes, and when the run is interrupted.

    Must be the last callback, so that what the others have to say is in the checkpoint.

    Args:
        path: The checkpoint.
        every_seconds: Longest time that a killed run can lose.
    """

    def __init__(self, path: Path, every_seconds: float = 300.0) -> None:
        self.path = path
        self.every_seconds = every_seconds
        self._saved_step = -1
        self._saved_at = time.monotonic()

    def save(self, trainer: L.Trainer) -> None:
        """Write the checkpoint, unless it is already that of this step."""
        if self._saved_step != trainer.global_step:
            trainer.save_checkpoint(self.path)
            self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        due = time.monotonic() - self._saved_at >= self.every_seconds
        # every process saves or none: a distributed run meets at a barrier there
        if trainer.strategy.broadcast(due):
            self.save(trainer)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved_step = -1  # the score is new even if no step was taken since
        self.save(trainer)


class Interruption(L.Callback):
    """Ctrl-C and SIGTERM end a run between two steps, where a checkpoint is exact; a second one ends it at once.

    Args:
        last: Saves the run before it ends.
    """

    def __init__(self, last: LastCheckpoint) -> None:
        self.last = last
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._received is not None:
            self._restore()
            raise KeyboardInterrupt
        self._received = number
        log.warning("%s: saving and stopping after this step; once more stops at once", signal.Signals(number).name)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _leave_if_asked(self) -> None:
        if self._received is not None:
            number = self._received
            self._restore()
            raise TrainingInterruptedError(number, self.last.path)

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if self._received is not None:
            self.last.save(trainer)
        self._leave_if_asked()

    @override
    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        # the checkpoint of the last training step stays the last: a validation has no place to go on from
        self._leave_if_asked()

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore()
