"""Checkpoints, written regularly and on an interrupt."""

import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import lightning as L
from typing_extensions import override

from lstm_lm.errors import CheckpointError, TrainingInterruptedError
from lstm_lm.export.checkpoint_file import load_raw_checkpoint
from lstm_lm.serialization import check_plain, mapping
from lstm_lm.text.files import replace_by_link, write_atomically
from lstm_lm.training.checkpoint_metadata import check_resumable
from lstm_lm.training.module import LanguageModelModule

log = logging.getLogger(__name__)


class BestAndLastCheckpoint(L.Callback):
    """Keeps ``best.ckpt``, with the lowest valid loss, and ``last.ckpt``, from which a run resumes.

    ``last.ckpt`` is written after each validation, every few minutes, and when the run is interrupted. Must come after
    the callbacks whose state the checkpoints include.

    Args:
        folder: Folder of the checkpoints.
        every_seconds: Longest training time that a killed run can lose.

    Attributes:
        best_score: Score of ``best.ckpt``; ``None`` before the first validation.
    """

    def __init__(self, folder: Path, every_seconds: float = 300.0) -> None:
        self.folder = folder
        self.every_seconds = every_seconds
        self.best_score: dict[str, Any] | None = None
        self._best_is_valid = True
        self._saved_step = -1
        self._saved_at = time.monotonic()

    @property
    def best(self) -> Path:
        """The checkpoint to score and to export."""
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.folder / "last.ckpt"

    def save_last(self, trainer: L.Trainer) -> None:
        """Write ``last.ckpt``, unless it already holds this step."""
        if self._saved_step != trainer.global_step:
            trainer.save_checkpoint(self.last)
            self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()

    def adopt_best(self, resume: Path, metadata: dict[str, Any]) -> None:
        """Copy the best checkpoint of the resumed run, in case this run finds no better one.

        One that is damaged or of another run is not used: the next validation writes a new one.

        Args:
            resume: The checkpoint that the run resumes from.
            metadata: Metadata of this run's own checkpoints.
        """
        previous_best = resume.with_name(self.best.name)
        if not previous_best.is_file():
            return
        try:
            check_resumable(previous_best, load_raw_checkpoint(previous_best)["lstm_lm"], metadata)
        except CheckpointError as error:
            self._best_is_valid = False
            log.warning("%s; it is not used, and the next validation writes a new best.ckpt", error)
            return
        if previous_best.resolve() != self.best.resolve():
            write_atomically(self.best, previous_best.read_bytes())

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        due = time.monotonic() - self._saved_at >= self.every_seconds
        # all processes save or none: saving is a barrier
        if trainer.strategy.broadcast(due):
            self.save_last(trainer)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: LanguageModelModule) -> None:  # type: ignore[override]
        assert pl_module.valid_score is not None
        score = pl_module.valid_score.to_dict()
        if self.best_score is None or score["loss"] < self.best_score["loss"]:
            self.best_score = score
            trainer.save_checkpoint(self.best)
            if trainer.is_global_zero:  # same content; writing a large checkpoint twice takes seconds
                replace_by_link(self.last, self.best)
            self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
            return
        self._saved_step = -1  # the score is new even if no step followed the last save
        self.save_last(trainer)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if (saved := state_dict["best_score"]) is not None:
            check_plain(saved, "best_score")
            float(mapping(saved, "best_score")["loss"])
        # if best.ckpt is gone or damaged, its score must not prevent writing a new one
        self.best_score = saved if self._best_is_valid and self.best.is_file() else None


class GracefulInterrupt(L.Callback):
    """Ctrl-C and SIGTERM end a run after the current step or validation, when a checkpoint is exact.

    A second signal ends it immediately.

    Args:
        checkpoints: Saves the run before it ends.
    """

    def __init__(self, checkpoints: BestAndLastCheckpoint) -> None:
        self.checkpoints = checkpoints
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # not earlier: Lightning installs its own handlers just before
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._received is not None:
            self._exit()
        self._received = number
        log.warning(
            "%s: saving and stopping after this step or validation; send it again to stop immediately",
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
        if self._should_stop(trainer):
            self.checkpoints.save_last(trainer)
            self._exit()

    @override
    def on_validation_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        # only now: a run cannot resume in the middle of a validation
        if self._should_stop(trainer):
            self._exit()

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore()
