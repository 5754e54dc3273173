"""The run folder: refuse to overwrite a run, lock the folder, recognize a finished run."""

import fcntl
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lstm_lm.checkpoint import BEST, CHECKPOINTS, LAST, METRICS
from lstm_lm.errors import TrainingError
from lstm_lm.evaluation.token_scores import TOKEN_SCORES
from lstm_lm.text.files import remove_abandoned
from lstm_lm.training.config import RESUME_AUTO, TrainConfig, TrainerConfig
from lstm_lm.training.ranks import check_launch, is_rank_zero

_LOCK = ".lock"


class FinishedRunError(Exception):
    """``resume=auto`` has nothing to do: the run of the folder is finished. Not a failure."""


@contextmanager
def open_run_folder(config: TrainConfig, folder: Path) -> Iterator[None]:
    """Lock a run folder while a run uses it. Nothing is written to a folder that is refused.

    In a distributed run, every process checks the folder, and rank 0 locks it: nothing is written there before all have
    met.

    Raises:
        ConfigError: If a launcher has started other processes than the config has.
        TrainingError: If the folder holds a run that this one does not continue, or another process uses it.
        FinishedRunError: If ``resume=auto`` has nothing to do.
    """
    check_launch(config.trainer.devices, config.trainer.num_nodes)
    check_run_folder(config, folder)
    if config.resume == RESUME_AUTO and (limit := finished_by(folder, config.trainer)):
        raise FinishedRunError(
            f"{folder}: this run is finished (ended by {limit}); raise trainer.budget, trainer.max_epochs or "
            "trainer.max_steps to continue it"
        )
    if not is_rank_zero():
        yield
        return
    with lock_folder(folder):
        check_run_folder(config, folder)  # another process may have finished a run in the meantime
        _remove_temporary_files(folder)
        yield


def _remove_temporary_files(folder: Path) -> None:
    """Remove what an earlier attempt at the run left when it was killed in a write."""
    checkpoints = folder / CHECKPOINTS
    for path in (checkpoints / BEST, checkpoints / LAST, folder / METRICS, folder / TOKEN_SCORES):
        if path.parent.is_dir():
            remove_abandoned(path, min_seconds=-math.inf)


def has_checkpoints(folder: Path) -> bool:
    """Whether a run has saved a checkpoint to ``folder``."""
    return any((folder / CHECKPOINTS).glob("*.ckpt"))


def check_run_folder(config: TrainConfig, folder: Path) -> None:
    """Refuse a folder whose checkpoints this run would replace.

    Raises:
        TrainingError: If the folder holds checkpoints, and the run does not resume from its ``last.ckpt``.
    """
    for file in folder.glob("hpc_ckpt_*.ckpt"):  # Lightning would silently resume from it
        raise TrainingError(f"{file}: Lightning wrote this checkpoint for SLURM; remove it or choose another folder")
    if not has_checkpoints(folder) or config.resume == RESUME_AUTO:
        return
    last = folder / CHECKPOINTS / LAST
    if config.resume is not None and Path(config.resume).resolve() == last.resolve():
        return
    raise TrainingError(
        f"{folder}: holds the checkpoints of a run, and this run would replace them; continue that run with "
        f"resume=auto or resume={last}, or choose another hydra.run.dir"
    )


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder; the system releases it when the process ends, even if it is killed.

    Raises:
        TrainingError: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise TrainingError(
                f"{folder}: in use by process {file.read().strip() or '(unknown)'}; wait for it to end, or choose "
                "another folder"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def limits(trainer: TrainerConfig) -> dict[str, Any]:
    """What ends a run, as recorded in ``metrics.json``; infinity is ``None``."""
    return {
        "budget": trainer.budget_seconds,
        "max_epochs": trainer.max_epochs if trainer.max_epochs is not None else _finite_epochs(trainer),
        "max_steps": None if trainer.max_steps == -1 else trainer.max_steps,
    }


def _finite_epochs(trainer: TrainerConfig) -> int | None:
    return trainer.epoch_limit if trainer.budget is None and trainer.max_steps == -1 else None


def finished_by(folder: Path, trainer: TrainerConfig) -> str | None:
    """The limit that ended the run of ``folder``; ``None`` if the run is not finished or a limit has been raised."""
    try:
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        stopped_by, previous_limits = metrics["stopped_by"], metrics["limits"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not has_checkpoints(folder) or not isinstance(previous_limits, dict):
        return None
    current_limits = limits(trainer)
    # early stopping has no limit of its own: raising any limit continues the run
    relevant = [stopped_by] if stopped_by in current_limits else list(current_limits)
    if any(_increased(previous_limits.get(name), current_limits[name]) for name in relevant):
        return None
    return str(stopped_by)


def _increased(before: Any, now: Any) -> bool:
    return before is not None and (now is None or now > before)
