"""A signal saves a run and ends it."""

import logging
import signal
import time
from types import FrameType
from typing import Any, NoReturn

import lightning as L
from typing_extensions import override

from lstm_lm.errors import TrainingInterruptedError
from lstm_lm.training.callbacks.checkpoints import BestAndLastCheckpoint
from lstm_lm.training.signals import handled_signals
from lstm_lm.training.steps import completed_step

log = logging.getLogger(__name__)

_REPEATED = 1.0  # seconds: a terminal or scheduler may send one signal twice, to the process and to its group


class GracefulInterrupt(L.Callback):
    """A signal ends a run after the current step, and breaks off a validation: a resumed run repeats it.

    The signals are those of ``signals.STOP_SIGNALS``. A second one, a second later, ends the run immediately.

    Args:
        checkpoints: Saves the run before it ends.
    """

    def __init__(self, checkpoints: BestAndLastCheckpoint) -> None:
        self.checkpoints = checkpoints
        self._received: int | None = None
        self._received_at = 0.0
        self._previous: dict[int, Any] = {}

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # not earlier: Lightning installs its own handlers just before
        for number in handled_signals():
            self._previous[number] = signal.signal(number, self._receive)
        self.checkpoints.continue_step(trainer)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._received is not None:
            if time.monotonic() - self._received_at > _REPEATED:
                self._exit()
            return
        self._received, self._received_at = number, time.monotonic()
        log.warning(
            "%s: saving and stopping after this step; send it again to stop immediately",
            signal.Signals(number).name,
        )

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _should_stop(self, trainer: L.Trainer) -> bool:
        # all processes stop at the same step: the signal may have reached only one of them
        return trainer.strategy.reduce_boolean_decision(self._received is not None, all=False)

    def _exit(self) -> NoReturn:
        self._restore()
        raise TrainingInterruptedError(self._received or signal.SIGTERM, self.checkpoints.last)

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if completed_step(trainer) and self._should_stop(trainer):
            self.checkpoints.save_last(trainer)
            self._exit()

    @override
    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        # last.ckpt is from just before this validation
        if self._should_stop(trainer):
            self._exit()

    @override
    def on_validation_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if self._should_stop(trainer):
            self._exit()

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore()
