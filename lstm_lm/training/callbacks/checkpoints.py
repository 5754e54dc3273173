"""Checkpoints, written regularly and on an interrupt."""

import logging
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import lightning as L
from lightning.pytorch.callbacks import Checkpoint as CheckpointCallback
from typing_extensions import override

from lstm_lm.checkpoint import BEST, LAST, Checkpoint, CheckpointMetadata, read_checkpoint
from lstm_lm.data.streams import EvalWindows
from lstm_lm.errors import CheckpointError, TrainingInterruptedError
from lstm_lm.evaluation.token_scores import TOKEN_SCORES, TokenScores
from lstm_lm.serialization import check_plain, mapping
from lstm_lm.text.files import replace_by_link, write_atomically
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.resume import check_resumable
from lstm_lm.training.signals import handled_signals
from lstm_lm.training.steps import completed_step

log = logging.getLogger(__name__)

_REPEATED = 1.0  # seconds: a terminal or scheduler may send one signal twice, to the process and to its group


class BestAndLastCheckpoint(CheckpointCallback):
    """Keeps ``best.ckpt``, with the lowest valid loss, and ``last.ckpt``, from which a run resumes.

    ``last.ckpt`` is written before and after each validation, every few minutes, and when the run is interrupted. A run
    that resumes from the one before a validation repeats it first. Must come after the callbacks whose state the
    checkpoints include.

    Args:
        folder: Folder of the checkpoints.
        every_seconds: Longest training time that a killed run can lose.

    Attributes:
        best_score: Score of ``best.ckpt``; ``None`` before the first validation.
        best_tokens: Its per-token scores; ``None`` if an earlier part of the run wrote it.
        validated: Whether this process has finished a validation.
    """

    def __init__(self, folder: Path, every_seconds: float = 300.0) -> None:
        self.folder = folder
        self.every_seconds = every_seconds
        self.best_score: dict[str, Any] | None = None
        self.best_tokens: TokenScores | None = None
        self.validated = False
        self._best_sums: list[tuple[float, int]] = []  # of best.ckpt, as in SplitScore.sums
        self._validation_due = False
        self._max_steps: int | None = None
        self._best_is_valid = True
        self._previous_best: Path | None = None  # of the run that this one resumes
        self._saved_step = -1
        self._saved_at = time.monotonic()

    @property
    def best(self) -> Path:
        """The checkpoint to score and to export."""
        return self.folder / BEST

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.folder / LAST

    def save_last(self, trainer: L.Trainer) -> None:
        """Write ``last.ckpt``, unless it already holds this step."""
        if self._saved_step != trainer.global_step:
            trainer.save_checkpoint(self.last)
            self._saved_step = trainer.global_step
        self._saved_at = time.monotonic()

    def adopt_best(self, resumed: Checkpoint, metadata: CheckpointMetadata) -> None:
        """Take over the best checkpoint of the resumed run, in case this run finds no better one.

        One that is damaged or of another run is not used: the next validation writes a new one.

        Args:
            resumed: The checkpoint that the run resumes from.
            metadata: Metadata of this run's own checkpoints.
        """
        previous_best = resumed.path.with_name(BEST)
        if not previous_best.is_file():
            return
        try:
            if not previous_best.samefile(resumed.path):
                check_resumable(read_checkpoint(previous_best), metadata)
        except CheckpointError as error:
            self._best_is_valid = False
            log.warning("%s; it is not used, and the next validation writes a new best.ckpt", error)
            return
        self._previous_best = previous_best

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # not earlier: other processes, which have met the first one now, have refused a folder with a checkpoint
        previous, best = self._previous_best, self.best
        if previous is not None and trainer.is_global_zero and previous.resolve() != best.resolve():
            write_atomically(best, previous.read_bytes())

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        due = time.monotonic() - self._saved_at >= self.every_seconds and completed_step(trainer)
        loop = trainer.fit_loop.epoch_loop
        # Lightning's own decision, a moment before it takes it: not in a hook of the validation, because a run that
        # resumes from there would skip it
        self._validation_due = (
            trainer.enable_validation
            and not loop._skip_next_val
            and loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        )
        # all processes save or none: saving is a barrier
        if trainer.strategy.broadcast(due or self._validation_due):
            self.save_last(trainer)

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        loop = trainer.fit_loop.epoch_loop
        due = checkpoint["callbacks"].get(self.state_key, {}).get("validation_due", False)
        if due and checkpoint["global_step"] == loop.max_steps:
            # Lightning would return at once; the validation runs in on_train_start
            self._max_steps, loop.max_steps = loop.max_steps, loop.max_steps + 1

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # only rank 0 knows the run folder
        self.best_score, self._best_sums = trainer.strategy.broadcast((self.best_score, self._best_sums))
        loop = trainer.fit_loop.epoch_loop
        if self._validation_due:
            trainer.validating = True
            loop.val_loop.restarting = False
            loop.val_loop.run()
            trainer.training = True
        if self._max_steps is not None:
            loop.max_steps = self._max_steps
            self._max_steps = None

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: LanguageModelModule) -> None:  # type: ignore[override]
        result = pl_module.valid_score
        assert result is not None
        self.validated, self._validation_due = True, False
        score = result.score.to_dict() | {"exact": result.is_exact}
        if self.best_score is None or self._is_better(score["loss"], result.sums):
            self.best_score, self._best_sums = score, result.sums
            trainer.save_checkpoint(self.best)
            if trainer.is_global_zero:  # same content; writing a large checkpoint twice takes seconds
                replace_by_link(self.last, self.best)
                assert isinstance(trainer.val_dataloaders, EvalWindows)
                self.best_tokens = pl_module.scorer.tokens(trainer.val_dataloaders)
                self.best_tokens.save(self.folder.parent / TOKEN_SCORES)
            self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
            return
        self._saved_step = -1  # the score is new even if no step followed the last save
        self.save_last(trainer)

    def _is_better(self, loss: float, sums: list[tuple[float, int]]) -> bool:
        """Compare with the best validation, on the windows that both have scored."""
        assert self.best_score is not None
        common = min(len(sums), len(self._best_sums))
        if len(sums) == len(self._best_sums) or not common:
            return bool(loss < self.best_score["loss"])
        (nll, tokens), (best_nll, best_tokens) = sums[common - 1], self._best_sums[common - 1]
        return nll / tokens < best_nll / best_tokens

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "best_score": self.best_score,
            "best_sums": self._best_sums,
            "validation_due": self._validation_due,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if (saved := state_dict["best_score"]) is not None:
            check_plain(saved, "best_score")
            float(mapping(saved, "best_score")["loss"])
        # if best.ckpt is gone or damaged, its score must not prevent writing a new one
        self.best_score = saved if self._best_is_valid and self.best.is_file() else None
        self._best_sums = [(float(nll), int(tokens)) for nll, tokens in state_dict.get("best_sums", [])]
        self._validation_due = bool(state_dict.get("validation_due", False))


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
