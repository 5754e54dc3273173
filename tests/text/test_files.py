"""A write is whole or did not happen, and a killed one leaves nothing for long."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lstm_lm.text.files import atomic_writer, remove_abandoned, temporary_folder, write_atomically

KILLED_WRITE = """
import os, signal, sys
from pathlib import Path
from lstm_lm.text.files import atomic_writer
with atomic_writer(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


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
