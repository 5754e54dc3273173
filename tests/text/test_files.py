"""Files that replace others in one step."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lstm_lm.text.files import (
    atomic_writer,
    remove_abandoned,
    replace_by_link,
    temporary_folder,
    write_atomically,
)

KILLED_WRITE = """
import os, signal, sys
from pathlib import Path
from lstm_lm.text.files import atomic_writer
with atomic_writer(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_link_has_the_content_of_its_source_and_keeps_it(tmp_path: Path) -> None:
    best, last = tmp_path / "best", tmp_path / "last"
    write_atomically(best, b"one")
    write_atomically(last, b"older")
    for _ in range(2):  # the second time both are the same file already
        replace_by_link(last, best)
        assert last.read_bytes() == b"one"
        assert last.samefile(best)
    write_atomically(best, b"two")
    assert last.read_bytes() == b"one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "last"]


def test_a_file_system_without_links_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    best, last = tmp_path / "best", tmp_path / "last"
    write_atomically(best, b"one")
    replace_by_link(last, best)
    assert last.read_bytes() == b"one"
    assert not last.samefile(best)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "last"]


def test_an_error_names_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(tmp_path / "folder", b"")
    assert caught.value.filename == str(tmp_path / "folder")
    with pytest.raises(OSError, match="full") as caught_full, atomic_writer(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "full")
    assert caught_full.value.filename == str(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match="corpus"), atomic_writer(tmp_path / "file"):
        (tmp_path / "corpus").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def make_old(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_the_next_write_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    write_atomically(path, "old")
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITE, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = set(tmp_path.iterdir()) - {path}
    assert path.read_text() == "old"
    make_old(left, 11)
    write_atomically(path, "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["best.ckpt"]
    assert path.read_text() == "new"


def test_a_file_that_is_being_written_stays_however_old(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    with atomic_writer(path) as file:
        file.write(b"slow")
        file.flush()
        (temporary,) = tmp_path.iterdir()
        make_old(temporary, 1e6)
        write_atomically(path, "quick")
        assert temporary.exists()
    assert path.read_text() == "slow"


@pytest.mark.parametrize("name", [".last.ckpt.abcdefgh", ".best.ckpt", ".best.ckpt.mine", "best.ckpt.abcdefgh"])
def test_what_is_not_ours_stays(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    make_old(tmp_path / name, 1e6)
    write_atomically(tmp_path / "best.ckpt", "new")
    assert (tmp_path / name).read_text() == "mine"


def test_abandoned_folders_go_after_a_day(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    old, new = temporary_folder(path), temporary_folder(path)
    (old / "model.onnx").write_text("half")
    for entry in (old / "model.onnx", old):
        make_old(entry, 25 * 3600)
    remove_abandoned(path)
    assert list(tmp_path.iterdir()) == [new]
