"""Atomic writes: a reader never sees a half-written file."""

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

# a file is created an instant before it is locked
_ABANDONED_FILE_SECONDS = 10.0
_ABANDONED_FOLDER_SECONDS = 24 * 3600.0


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace ``path`` by ``content`` in one step: after a crash it holds the old or the new content, never a part.

    Args:
        path: The file to write; a missing folder is created.
        content: Bytes, or text to encode as UTF-8.

    Raises:
        OSError: If the folder is not writable; no temporary file remains.
    """
    with atomic_writer(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def replace_by_link(path: Path, source: Path) -> None:
    """Replace ``path`` by a hard link to ``source`` in one step, or by a copy if the file system has no hard links.

    Later writes must replace either file, not change it in place: both names share their content.

    Raises:
        OSError: If the folder is not writable.
    """
    temporary = path.with_name(f".{path.name}.link")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(source)
    except OSError:
        write_atomically(path, source.read_bytes())
        return
    temporary.replace(path)
    temporary.unlink(missing_ok=True)  # rename does nothing if both are already the same file
    sync_folder(path.parent)


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, atomically; infinity and NaN, which JSON does not have, become null."""
    write_atomically(path, json.dumps(nan_to_none(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def nan_to_none(data: Any) -> Any:
    """Replace infinity and NaN by ``None`` in plain data (a perplexity can overflow)."""
    if isinstance(data, dict):
        return {name: nan_to_none(item) for name, item in data.items()}
    if isinstance(data, list):
        return [nan_to_none(item) for item in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A file that replaces ``path`` when the block succeeds; if the block raises, it is removed.

    Until then it is in the folder of ``path``: a rename within a file system is atomic, a move between two is not.

    Args:
        path: The file to write; a missing folder is created.

    Raises:
        OSError: If it cannot be written; the error names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    temporary = None
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            _lock(descriptor)
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; give this one the user's usual permissions
        Path(temporary).chmod(0o666 & ~current_umask())
        Path(temporary).replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and (temporary is None or error.filename in (None, temporary)):
            # a message names the file, not the temporary one
            error.filename, error.filename2 = str(path), None
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def temporary_folder(path: Path) -> Path:
    """A new folder beside ``path``, to be renamed to it; see :func:`remove_abandoned`."""
    return Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))


def remove_abandoned(path: Path, min_seconds: float = _ABANDONED_FILE_SECONDS) -> None:
    """Remove temporary files and folders that killed processes left beside ``path``.

    Only those that this module made for this ``path``: a file whose writer holds no lock any more, a folder that
    nothing was written to for a day.

    Args:
        path: The file or folder that they were to become.
        min_seconds: Least age of a file; 0 if no other process can be writing to the folder.
    """
    # the random part of tempfile's names, or that of replace_by_link
    pattern = re.compile(rf"\.{re.escape(path.name)}\.([a-z0-9_]{{8}}|link)")
    for entry in path.parent.iterdir():
        if not pattern.fullmatch(entry.name) or entry.is_symlink():
            continue
        try:
            if entry.is_dir():
                remove_if_abandoned(entry)
            elif time.time() - entry.stat().st_mtime > min_seconds:
                # append: a descriptor that may be locked on every file system, and changes nothing
                with entry.open("ab") as file:
                    if _lock(file.fileno()):
                        entry.unlink()
        except OSError:
            continue  # its process just finished, or it belongs to someone else


def remove_if_abandoned(folder: Path) -> None:
    """Remove a temporary folder of a killed process: a running one keeps changing its files."""
    try:
        newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:
        return  # its process just finished
    if time.time() - newest > _ABANDONED_FOLDER_SECONDS:
        shutil.rmtree(folder, ignore_errors=True)


def _lock(descriptor: int) -> bool:
    """Lock a file until it is closed; the system unlocks it when its process ends, however it ends."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # locked, or a file system without locks
        return False
    return True


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def current_umask() -> int:
    """The permissions that new files of this process do not get."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def sync_folder(folder: Path) -> None:
    """Flush the entries of ``folder`` to disk, so that a rename inside it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
