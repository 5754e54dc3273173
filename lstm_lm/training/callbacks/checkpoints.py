"""Keeping what was learnt, also when a run is stopped from outside."""

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
from lstm_lm.export.checkpoint_file import open_checkpoint
from lstm_lm.serialization import check_plain, mapping
from lstm_lm.text.files import write_atomically
from lstm_lm.training.checkpoint_metadata import check_resumable
from lstm_lm.training.module import LanguageModelModule

log = logging.getLogger(__name__)


class BestAndLastCheckpoint(L.Callback):
    """Keeps ``best.ckpt``, of the lowest valid loss, and ``last.ckpt``, from which a run goes on.

    The last one is written after each validation, every few minutes, and when the run is interrupted. Must be the
    last callback, so that what the others have to say is in the checkpoints.

    Args:
        folder: Where they go.
        every_seconds: Longest time that a killed run can lose.

    Attributes:
        best_score: The score of ``best.ckpt``; ``None`` before the first validation.
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
        """Write ``last.ckpt``, unless it is already that of this step."""
        if self._saved_step != trainer.global_step:
            trainer.save_checkpoint(self.last)
            self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()

    def adopt_best(self, resume: Path, record: dict[str, Any]) -> None:
        """Take over the best checkpoint of the run that ``resume`` goes on, in case this one finds no better.

        One that is damaged, or of another run, is left: the next validation writes a new one.

        Args:
            resume: The checkpoint that the run resumes from.
            record: Metadata of this run's own checkpoints.
        """
        theirs = resume.with_name(self.best.name)
        if not theirs.is_file():
            return
        try:
            check_resumable(theirs, open_checkpoint(theirs)["lstm_lm"], record)
        except CheckpointError as error:
            self._best_is_valid = False
            log.warning("%s; it is not used, and the next validation writes a new best.ckpt", error)
            return
        if theirs.resolve() != self.best.resolve():
            write_atomically(self.best, theirs.read_bytes())

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        due = time.monotonic() - self._saved_at >= self.every_seconds
        # every process saves or none: a distributed run meets at a barrier there
        if trainer.strategy.broadcast(due):
            self.save_last(trainer)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: LanguageModelModule) -> None:  # type: ignore[override]
        assert pl_module.valid_score is not None
        score = pl_module.valid_score.to_dict()
        if self.best_score is None or score["loss"] < self.best_score["loss"]:
            self.best_score = score
            trainer.save_checkpoint(self.best)
        self._saved_step = -1  # the score is new even if no step was taken since
        self.save_last(trainer)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if (saved := state_dict["best_score"]) is not None:
            check_plain(saved, "best_score")
            float(mapping(saved, "best_score")["loss"])
        # a best score whose checkpoint is gone or damaged must not keep this run from writing one
        self.best_score = saved if self._best_is_valid and self.best.is_file() else None


class GracefulInterrupt(L.Callback):
    """Ctrl-C and SIGTERM end a run after the step or validation at hand, where a checkpoint is exact.

    A second signal ends it at once.

    Args:
        checkpoints: Saves the run before it ends.
    """

    def __init__(self, checkpoints: BestAndLastCheckpoint) -> None:
        self.checkpoints = checkpoints
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # not earlier: Lightning puts its own handlers in place just before
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._received is not None:
            self._leave()
        self._received = number
        log.warning(
            "%s: saving and stopping after this step or validation; once more stops at once",
            signal.Signals(number).name,
        )

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _asked(self, trainer: L.Trainer) -> bool:
        # of several processes all stop at the same step or none: a signal may have reached one of them alone
        return trainer.strategy.reduce_boolean_decision(self._received is not None, all=False)

    def _leave(self) -> NoReturn:
        self._restore()
        raise TrainingInterruptedError(self._received or signal.SIGTERM, self.checkpoints.last)

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if self._asked(trainer):
            self.checkpoints.save_last(trainer)
            self._leave()

    @override
    def on_validation_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        # a validation is let end, for nothing goes on from its middle
        if self._asked(trainer):
            self._leave()

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore()
