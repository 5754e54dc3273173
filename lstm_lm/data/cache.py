"""Folders that are either whole or not there."""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lstm_lm.data.config import DataConfig
from lstm_lm.errors import DataError
from lstm_lm.text.files import sync_folder

_PARTIAL = ".partial-"
_ABANDONED_SECONDS = 24 * 3600


def cache_root(config: DataConfig) -> Path:
    """Where encoded corpora are kept."""
    if config.cache_dir:
        return Path(config.cache_dir).expanduser()
    return Path(os.environ.get("LSTM_LM_CACHE") or "~/.cache/lstm_lm").expanduser()


def build_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Make ``folder`` by ``write`` unless it is there; a process killed half-way leaves no ``folder``.

    Args:
        folder: The cache entry.
        write: Fills the empty folder that it is given.

    Raises:
        DataError: If the cache cannot be written, for example because the disk is full.
    """
    if folder.is_dir():
        return
    partial: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_PARTIAL))
        write(partial)
        for path in partial.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(partial)
        # mkdtemp makes it private; a cache may be shared
        partial.chmod(0o755)
        try:
            partial.rename(folder)
        except OSError as error:
            # another process was quicker and its entry holds the same
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        sync_folder(folder.parent)
    except OSError as error:
        raise DataError(
            f"{folder.parent}: the encoded corpus cannot be written ({error.strerror or error}); free some space or "
            "choose another folder with data.cache_dir=FOLDER, or with LSTM_LM_CACHE=FOLDER in the environment"
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _remove_abandoned(root: Path) -> None:
    """What killed processes left behind; a running one writes its files all the time."""
    for partial in root.glob(f"{_PARTIAL}*"):
        try:
            newest = max(path.stat().st_mtime for path in (partial, *partial.iterdir()))
        except OSError:
            continue  # its process just finished
        if time.time() - newest > _ABANDONED_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)
