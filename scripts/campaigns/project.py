"""A folder with a small corpus, and `lstm-lm` commands in processes of their own.

The processes are forked from one that has imported the package, so that each starts in milliseconds.
"""

import itertools
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import BinaryIO

from helpers.real_commands import write_corpus

SETTINGS = (
    "data=text_files",
    "data.dir=corpus",
    "model=tiny",
    "model.embedding_dim=96",
    "model.hidden_dims=[160,96]",
    "model.output_dropout=0.2",
    "batching.batch_size=8",
    "batching.bptt_length=30",
    "batching.jitter=true",
    "batching.random_offset=true",
    "averaging=ema",
    "trainer.precision=fp32",
    "trainer.max_epochs=2",
    "trainer.val_check_interval=0.25",
    "callbacks=quiet",
    "logger=none",
)


@dataclass(frozen=True)
class Fault:
    """What goes wrong in a command."""

    max_file_bytes: int | None = None
    """No file may grow beyond this size (``RLIMIT_FSIZE``)."""
    torn_write: int | None = None
    """SIGKILL in this write of a checkpoint, counted from 0."""
    torn_bytes: int = 0
    """How much of it is written."""

    def install(self) -> None:
        """In the process of the command."""
        if self.max_file_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.max_file_bytes, self.max_file_bytes))
        if self.torn_write is None:
            return
        from lstm_lm import checkpoint

        write, numbers = checkpoint.atomic_writer, itertools.count()

        @contextmanager
        def torn_writer(path: Path) -> Iterator[BinaryIO]:
            with write(path) as file:
                yield _TornFile(file, self.torn_bytes) if next(numbers) == self.torn_write else file  # type: ignore[misc]

        checkpoint.atomic_writer = torn_writer


class _TornFile:
    """Ends its process with SIGKILL after so many bytes."""

    def __init__(self, file: BinaryIO, num_bytes: int) -> None:
        self._file = file
        self._left = num_bytes

    def write(self, data: memoryview) -> int:
        self._file.write(data[: self._left])
        self._left -= len(data)
        if self._left < 0:
            self.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


class Command:
    """A command that runs in a process of its own.

    Args:
        arguments: Of ``lstm-lm``.
        folder: Its working directory.
        log: Gets its output.
        fault: What goes wrong in it.
    """

    def __init__(self, arguments: tuple[str, ...], folder: Path, log: Path, fault: Fault) -> None:
        context = multiprocessing.get_context("forkserver")
        self.log = log
        self.process: ForkServerProcess = context.Process(target=_run, args=(arguments, folder, log, fault))
        self.process.start()

    def kill(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, number)

    def wait(self) -> int:
        """The exit status, ``-N`` after signal N."""
        self.process.join(600)
        assert self.process.exitcode is not None, f"{self.log}: does not end"
        return self.process.exitcode

    def wait_cpu_seconds(self, seconds: float) -> float:
        """Wait until it has used so much CPU time, or has ended; returns the CPU time.

        A share of that time is the same part of a run on a busy machine and on a quiet one.
        """
        assert self.process.pid is not None
        used = 0.0
        while used < seconds and self.process.exitcode is None:
            used = max(used, cpu_seconds(self.process.pid))
            self.process.join(0.003)
        return used

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def _run(arguments: tuple[str, ...], folder: Path, log: Path, fault: Fault) -> None:
    """In the forked process: run a command with its output in a file."""
    os.chdir(folder)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    fault.install()
    from lstm_lm.cli.main import main

    sys.exit(main(arguments))


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used; 0 if it has ended."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return 0.0
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


class Project:
    """A user's folder.

    Args:
        folder: Empty; gets the corpus and all runs.
        quick: Few trials of each kind.

    Attributes:
        rng: Draws the moments and the bits.
        cpu_seconds: CPU time of the uninterrupted run.
    """

    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder = folder
        self.rng = random.Random()
        self.quick = quick
        self.cpu_seconds = 0.0
        self._num_commands = 0
        write_corpus(folder / "corpus")
        valid = folder / "corpus" / "valid.txt"
        valid.write_text(valid.read_text() * 8)  # a validation takes long enough to be hit

    def start(self, *arguments: str, fault: Fault | None = None) -> Command:
        """Start a command."""
        self._num_commands += 1
        log = self.folder / f"command-{self._num_commands}.log"
        return Command(arguments, self.folder, log, fault or Fault())

    def train(self, run: str, *overrides: str, fault: Fault | None = None) -> Command:
        """Start a training run in the folder ``run``, or continue it."""
        arguments = ("train", *SETTINGS, f"hydra.run.dir={run}", "resume=auto", *overrides)
        return self.start(*arguments, fault=fault)

    def whole(self) -> Path:
        """An uninterrupted run, trained at the first call."""
        run = self.folder / "whole"
        if not (run / "report.html").is_file():
            encoding = self.start("data", *SETTINGS[:2])
            assert encoding.wait() == 0, encoding.output
            command = self.train("whole")
            self.cpu_seconds = command.wait_cpu_seconds(float("inf"))
            assert command.wait() == 0, command.output
        return run

    def copy(self, source: Path, name: str) -> Path:
        """Copy a folder, replacing an earlier copy."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        return target
