"""Checkpoints, written regularly and around validations, and how a run resumes from them."""

import logging
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint as CheckpointCallback
from typing_extensions import override

from lstm_lm.checkpoint import BEST, LAST, Checkpoint, CheckpointMetadata, read_checkpoint
from lstm_lm.data.streams import EvalWindows, TrainWindows
from lstm_lm.errors import CheckpointError
from lstm_lm.evaluation.token_scores import TOKEN_SCORES, TokenScores
from lstm_lm.serialization import check_plain, mapping
from lstm_lm.text.files import replace_by_link, write_atomically
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.resume import check_resumable
from lstm_lm.training.steps import complete_batch, completed_step

log = logging.getLogger(__name__)


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
        self._in_step = False  # whether the restored checkpoint was saved between a step and its end
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
        self._in_step = complete_batch(checkpoint["loops"]["fit_loop"])
        due = checkpoint["callbacks"].get(self.state_key, {}).get("validation_due", False)
        if due and checkpoint["global_step"] == loop.max_steps:
            # Lightning would return at once; the validation runs in continue_step
            self._max_steps, loop.max_steps = loop.max_steps, loop.max_steps + 1

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # only rank 0 knows the run folder
        self.best_score, self._best_sums = trainer.strategy.broadcast((self.best_score, self._best_sums))

    def continue_step(self, trainer: L.Trainer) -> None:
        """Do what followed the save of the checkpoint that the run resumes from; call it in ``on_train_start``."""
        fit_loop = trainer.fit_loop
        loop, windows = fit_loop.epoch_loop, fit_loop._data_fetcher
        assert windows is not None
        if self._validation_due:
            trainer.validating = True
            loop.val_loop.restarting = False
            loop.val_loop.run()
            loop.val_loop._has_run = False  # else Lightning does not end the step, and the next epoch has no windows
            trainer.training = True
        if self._max_steps is not None:
            loop.max_steps = self._max_steps
            self._max_steps = None
        if self._in_step and not loop._should_check_val_fx(windows):
            loop._batches_that_stepped += 1  # else Lightning does it
        self._in_step = False
        if loop.restarting and loop._num_ready_batches_reached():
            windows.done = True  # Lightning would take a window of the next epoch
            for loader in windows.combined_loader.flattened:
                if isinstance(loader, TrainWindows):
                    loader.finish_epoch()  # trainer.limit_train_batches may have ended it

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: LanguageModelModule) -> None:  # type: ignore[override]
        result = pl_module.valid_score
        assert result is not None
        self.validated, self._validation_due = True, False
        score = result.score.to_dict() | {"exact": result.is_exact}
        if self.best_score is None or self._is_better(score["loss"], result.sums):
            self.best_score, self._best_sums = score, result.sums
            if trainer.is_global_zero:
                assert isinstance(trainer.val_dataloaders, EvalWindows)
                self.best_tokens = pl_module.scorer.tokens(trainer.val_dataloaders)
                # before the checkpoint: a run that is killed in between repeats the validation and writes both again
                self.best_tokens.save(self.folder.parent / TOKEN_SCORES)
            trainer.save_checkpoint(self.best)
            if trainer.is_global_zero:  # same content; writing a large checkpoint twice takes seconds
                replace_by_link(self.last, self.best)
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
