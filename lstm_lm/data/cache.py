"""Cache folder, of encoded corpora and features of train: an entry is complete or absent."""

import errno
import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lstm_lm.data.config import DataConfig
from lstm_lm.errors import DataError
from lstm_lm.settings import CACHE
from lstm_lm.text.files import current_umask, file_sha256, remove_if_abandoned, sync_folder

_PARTIAL = ".partial-"
_CHECKSUMS = "checksums.json"  # sha256 of every other file of an entry

log = logging.getLogger(__name__)


def cache_root(config: DataConfig) -> Path:
    """The cache folder: ``cache_dir``, else ``$LSTM_LM_CACHE``, else ``~/.cache/lstm_lm``."""
    if config.cache_dir:
        return Path(config.cache_dir).expanduser()
    return Path(os.environ.get(CACHE) or "~/.cache/lstm_lm").expanduser()


def build_once(folder: Path, write: Callable[[Path], None]) -> dict[str, str]:
    """Build ``folder`` with ``write`` unless it exists and is intact; a process that is killed leaves no ``folder``.

    Every file of an entry is compared with its checksum; a damaged entry is built again. Of several processes, such as
    the ranks of a machine, one builds and the others wait for it.

    Args:
        folder: The cache entry.
        write: Called with an empty folder, which it fills with files.

    Returns:
        sha256 of every file in hex, by name.

    Raises:
        DataError: If the cache is not writable, for example because the disk is full.
    """
    if folder.is_dir():
        if sha256 := _verified(folder):
            return sha256
        log.warning("%s: this cache entry is damaged; it is built again", folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            return _verified(folder) or _build(folder, write)
    except OSError as error:
        raise DataError(
            f"{folder.parent}: cannot write a cache entry ({error.strerror or error}); free some space or choose "
            "another folder with data.cache_dir=FOLDER or the environment variable LSTM_LM_CACHE=FOLDER"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time build an entry. It saves work only: without locks, the first to finish wins."""
    path = folder.with_name(f".lock-{folder.name}")
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: waiting for another process that builds this cache entry", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            log.debug("%s: no locks here (%s)", folder.parent, error.strerror)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _build(folder: Path, write: Callable[[Path], None]) -> dict[str, str]:
    for left in folder.parent.glob(f"{_PARTIAL}*"):
        remove_if_abandoned(left)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_PARTIAL))
    try:
        write(partial)
        sha256 = {path.name: file_sha256(path) for path in partial.iterdir()}
        (partial / _CHECKSUMS).write_text(json.dumps(sha256))
        for path in partial.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(partial)
        # mkdtemp makes folders private; a cache is as readable as the user's other folders
        partial.chmod(0o777 & ~current_umask())
        _set_aside(folder)
        try:
            partial.rename(folder)
        except OSError as error:
            # another process finished first; its entry has the same content
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        sync_folder(folder.parent)
        return sha256
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _verified(folder: Path) -> dict[str, str] | None:
    """The checksums of an entry whose files have them; ``None`` for a damaged entry."""
    try:
        sha256: dict[str, str] = json.loads((folder / _CHECKSUMS).read_bytes())
        return sha256 if all(file_sha256(folder / name) == value for name, value in sha256.items()) else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _set_aside(folder: Path) -> None:
    """Remove a damaged entry; a process that has mapped its files keeps them."""
    if folder.is_dir() and not _verified(folder):
        trash = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_PARTIAL))
        folder.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)
