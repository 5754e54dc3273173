"""Every failure that a user can cause or meet is one of these.

::

    LstmLmError
    ├── ConfigError                 a config or command-line value; carries every problem found
    ├── DataError                   a corpus is missing, empty, unreadable or too short
    │   └── CorpusUnreachableError  the hub cannot be reached
    ├── CheckpointError             a checkpoint cannot be read or does not fit
    │   └── CheckpointMissingError  there is nothing at its place
    ├── EvaluationError             scoring cannot go on (dynamic evaluation's weights diverge)
    ├── BundleError                 a bundle is damaged, too new, or cannot be written
    ├── TrainingError               training cannot go on (for example the loss is not finite)
    └── TrainingInterruptedError    training was stopped by a signal, after saving

The commands print the message of any of them without a traceback and exit with 1. Everything else that reaches
the top is a defect of ours and keeps its traceback.
"""

import errno
from collections.abc import Sequence
from pathlib import Path

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The disk is full, or the user's share of it."""
UNWRITABLE = NO_SPACE | {errno.EACCES, errno.EPERM, errno.EROFS}
"""What keeps a file from being written and is the user's to mend, not ours."""


class LstmLmError(Exception):
    """Base class: one clear message with the path or value and the remedy."""


class ConfigError(LstmLmError):
    """One or more wrong settings, all reported at once.

    Args:
        problems: One line a problem, each ``path: what is wrong (got VALUE); remedy``.
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
    """A checkpoint cannot be read or does not fit."""


class CheckpointMissingError(CheckpointError):
    """There is nothing at the place of a checkpoint.

    Args:
        path: The place.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: there is no such file or folder; a run keeps its checkpoint in RUN/checkpoints/best.ckpt"
        )


class EvaluationError(LstmLmError):
    """Scoring cannot go on: the weights of dynamic evaluation diverge."""


class BundleError(LstmLmError):
    """A bundle is damaged, of a newer format, or cannot be written."""


class TrainingError(LstmLmError):
    """Training cannot start or go on."""


class TrainingInterruptedError(LstmLmError):
    """Training was stopped by a signal, after saving.

    Args:
        signal_number: SIGINT or SIGTERM; the command exits with 128 + it, as shells expect.
        checkpoint: From where the run goes on.
    """

    def __init__(self, signal_number: int, checkpoint: Path) -> None:
        self.signal_number = signal_number
        self.checkpoint = checkpoint
        super().__init__(f"stopped by a signal; go on with resume={checkpoint}")
