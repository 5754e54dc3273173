"""Errors that are reported to the user without a traceback.

::

    LstmLmError
    ├── ConfigError                 a config or command-line value; carries every problem
    ├── DataError                   a corpus is missing, empty, unreadable or too short
    │   └── CorpusUnreachableError  the hub cannot be reached
    ├── CheckpointError             a checkpoint cannot be read, written or used
    │   └── CheckpointMissingError  no such file
    ├── EvaluationError             scoring fails (dynamic evaluation diverges)
    ├── BundleError                 a bundle is damaged, has a newer format, or cannot be written
    ├── CellNotImportedError        an artifact names a cell from outside the package
    ├── TrainingError               training cannot start or continue (for example the loss is not finite)
    └── TrainingInterruptedError    a signal stopped training, after a checkpoint was saved

The commands print the message without a traceback and exit with 1. Any other exception is a bug and keeps its
traceback.
"""

import errno
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The disk is full, or the user's quota is, or a file may not grow further."""
UNWRITABLE = NO_SPACE | {errno.EACCES, errno.EPERM, errno.EROFS}
"""Write errors that the user can fix."""


class LstmLmError(Exception):
    """Base class: one message with the path or value, what is wrong, and the remedy."""


class ConfigError(LstmLmError):
    """One or more invalid settings, all reported at once.

    Args:
        problems: One line per problem: ``path: what is wrong (got VALUE); remedy``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        assert problems, "a ConfigError needs at least one problem"
        self.problems = tuple(problems)
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n  ".join([f"the configuration has {count}:", *problems]))


class DataError(LstmLmError):
    """A corpus is missing, empty, unreadable or too short."""


class CorpusUnreachableError(DataError):
    """A corpus on the hub cannot be reached."""


class CheckpointError(LstmLmError):
    """A checkpoint cannot be read, written or used."""


class CheckpointMissingError(CheckpointError):
    """No file or folder exists at ``path``."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: there is no such file or folder; the checkpoint of a run is RUN/checkpoints/best.ckpt"
        )


class EvaluationError(LstmLmError):
    """Scoring cannot continue: the weights of dynamic evaluation diverge."""


class BundleError(LstmLmError):
    """A bundle is damaged, has a newer format, or cannot be written."""


class CellNotImportedError(LstmLmError):
    """A checkpoint or a bundle names a cell from outside the package, whose module the user has not imported."""


class TrainingError(LstmLmError):
    """Training cannot start or continue."""


class TrainingInterruptedError(LstmLmError):
    """A signal stopped training, after a checkpoint was saved.

    Args:
        signal_number: SIGINT, SIGTERM or another stop signal; the command exits with 128 plus this number, as shells
            expect.
        checkpoint: The checkpoint to resume from.
    """

    def __init__(self, signal_number: int, checkpoint: Path) -> None:
        self.signal_number = signal_number
        self.checkpoint = checkpoint
        super().__init__(f"stopped by a signal; continue with resume={checkpoint.parent.parent}")


def closest(name: str, known: Collection[str], cutoff: float = 0.6) -> str | None:
    """The known name most similar to ``name``; ``None`` if no similarity reaches ``cutoff`` (0 to 1)."""
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(
    name: str,
    known: Collection[str],
    then: str = "",
    otherwise: str = "",
    renamed: Mapping[str, str] | None = None,
    form: str = "{}",
    cutoff: float = 0.6,
) -> str:
    """The remedy for an unknown name: the closest known one, or the list of all.

    Args:
        name: The unknown name.
        known: The names that exist.
        then: What to say after the closest name, and in place of the list of all.
        otherwise: What to say if no name is close enough, in place of ``then``.
        renamed: New names by old name.
        form: How a name is shown.
        cutoff: Lowest similarity, from 0 to 1.
    """
    match = (renamed or {}).get(name) or closest(name, known, cutoff)
    if match is None:
        return otherwise or then or f"use one of {', '.join(map(form.format, known))}"
    return f"did you mean {form.format(match)}?" + (f" {then}" if then else "")
