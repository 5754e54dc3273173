"""Writing files so that a reader never meets half of one."""

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace ``path`` by ``content`` in one step; after a crash it holds the old or the new content, never a part.

    Args:
        path: The file to write; its folder is made if missing.
        content: Bytes as they are, or text that is written as UTF-8.

    Raises:
        OSError: If the folder cannot be written; nothing is left behind.
    """
    with atomic_writer(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, atomically; infinity and NaN, which JSON does not know, become null."""
    write_atomically(path, json.dumps(nan_to_none(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def nan_to_none(data: Any) -> Any:
    """The same plain data with ``None`` for infinity and NaN (a perplexity can overflow)."""
    if isinstance(data, dict):
        return {name: nan_to_none(item) for name, item in data.items()}
    if isinstance(data, list):
        return [nan_to_none(item) for item in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path`` when the block ends well, and leaves nothing behind when it does not.

    It lies in the folder of ``path`` until then: a rename within a file system is one step, a move between two is a
    copy that can be cut short.

    Args:
        path: The file to write; its folder is made if missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; a result is as readable as any other file of the user
        Path(temporary).chmod(0o666 & ~current_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def current_umask() -> int:
    """The permissions that new files of this process do not get."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
