"""Cache folder, of encoded corpora and features of train: an entry is complete or absent."""

import errno
import json
import logging
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from lstm_lm.data.config import DataConfig
from lstm_lm.errors import DataError
from lstm_lm.text.files import current_umask, sync_folder

_PARTIAL = ".partial-"
_ABANDONED_SECONDS = 24 * 3600
_CHECKSUMS = "checksums.json"  # size and CRC-32 of every other file of an entry
_CHUNK = 1 << 20

log = logging.getLogger(__name__)


def cache_root(config: DataConfig) -> Path:
    """The cache folder: ``cache_dir``, else ``$LSTM_LM_CACHE``, else ``~/.cache/lstm_lm``."""
    if config.cache_dir:
        return Path(config.cache_dir).expanduser()
    return Path(os.environ.get("LSTM_LM_CACHE") or "~/.cache/lstm_lm").expanduser()


def build_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Build ``folder`` with ``write`` unless it exists and is intact; a process that is killed leaves no ``folder``.

    Every file of an entry is compared with its checksum; a damaged entry is built again.

    Args:
        folder: The cache entry.
        write: Called with an empty folder, which it fills with files.

    Raises:
        DataError: If the cache is not writable, for example because the disk is full.
    """
    if folder.is_dir():
        if _is_whole(folder):
            return
        log.warning("%s: this cache entry is damaged; it is built again", folder)
    partial: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_PARTIAL))
        write(partial)
        _write_checksums(partial)
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
    except OSError as error:
        raise DataError(
            f"{folder.parent}: cannot write a cache entry ({error.strerror or error}); free some space or choose "
            "another folder with data.cache_dir=FOLDER or the environment variable LSTM_LM_CACHE=FOLDER"
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _write_checksums(folder: Path) -> None:
    checksums = {path.name: [path.stat().st_size, _crc32(path)] for path in folder.iterdir()}
    (folder / _CHECKSUMS).write_text(json.dumps(checksums))


def _is_whole(folder: Path) -> bool:
    try:
        checksums = json.loads((folder / _CHECKSUMS).read_bytes())
        return bool(checksums) and all(
            [(folder / name).stat().st_size, _crc32(folder / name)] == entry for name, entry in checksums.items()
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def _set_aside(folder: Path) -> None:
    """Remove a damaged entry; a process that has mapped its files keeps them."""
    if folder.is_dir() and not _is_whole(folder):
        trash = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_PARTIAL))
        folder.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)


def _remove_abandoned(root: Path) -> None:
    """Remove the partial folders of killed processes: a running process keeps changing its files."""
    for partial in root.glob(f"{_PARTIAL}*"):
        try:
            newest = max(path.stat().st_mtime for path in (partial, *partial.iterdir()))
        except OSError:
            continue  # removed by another process in the meantime
        if time.time() - newest > _ABANDONED_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)
