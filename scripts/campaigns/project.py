"""A folder with a small corpus, and `lstm-lm` commands in processes of their own.

The processes are forked from one that has imported the package, so that each starts in milliseconds.
"""

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

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


class Command:
    """A command that runs in a process of its own.

    Args:
        arguments: Of ``lstm-lm``.
        folder: Its working directory.
        log: Gets its output.
        max_file_bytes: No file that it writes may grow beyond this size (``RLIMIT_FSIZE``).
    """

    def __init__(self, arguments: tuple[str, ...], folder: Path, log: Path, max_file_bytes: int | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        self.log = log
        self.process: ForkServerProcess = context.Process(target=_run, args=(arguments, folder, log, max_file_bytes))
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

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def _run(arguments: tuple[str, ...], folder: Path, log: Path, max_file_bytes: int | None) -> None:
    """In the forked process: run a command with its output in a file."""
    os.chdir(folder)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if max_file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    from lstm_lm.cli.main import main

    sys.exit(main(arguments))


class Project:
    """A user's folder.

    Args:
        folder: Empty; gets the corpus and all runs.
        quick: Few trials of each kind.

    Attributes:
        rng: Draws the moments and the bits.
        whole_seconds: Duration of the uninterrupted run.
    """

    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder = folder
        self.rng = random.Random()
        self.quick = quick
        self.whole_seconds = 0.0
        self._num_commands = 0
        write_corpus(folder / "corpus")
        valid = folder / "corpus" / "valid.txt"
        valid.write_text(valid.read_text() * 8)  # a validation takes long enough to be hit

    def start(self, *arguments: str, max_file_bytes: int | None = None) -> Command:
        """Start a command."""
        self._num_commands += 1
        log = self.folder / f"command-{self._num_commands}.log"
        return Command(arguments, self.folder, log, max_file_bytes)

    def train(self, run: str, *overrides: str, max_file_bytes: int | None = None) -> Command:
        """Start a training run in the folder ``run``, or continue it."""
        arguments = ("train", *SETTINGS, f"hydra.run.dir={run}", "resume=auto", *overrides)
        return self.start(*arguments, max_file_bytes=max_file_bytes)

    def whole(self) -> Path:
        """An uninterrupted run, trained at the first call."""
        run = self.folder / "whole"
        if not (run / "metrics.json").is_file():
            begin = time.monotonic()
            command = self.train("whole")
            assert command.wait() == 0, command.output
            self.whole_seconds = time.monotonic() - begin
        return run

    def copy(self, source: Path, name: str) -> Path:
        """Copy a folder, replacing an earlier copy."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        return target


def difference(one: Path, other: Path) -> str | None:
    """The first difference between two finished runs, ``None`` if they are bit-equal.

    Compares every tensor of both checkpoints (weights, optimizer, averages, LSTM state) and the score of each
    validation.
    """
    from lstm_lm.checkpoint import read_checkpoint

    histories = [_history(run) for run in (one, other)]
    if histories[0] != histories[1]:
        return f"another history of validations: {histories[0][-2:]} and {histories[1][-2:]}"
    for name in ("best.ckpt", "last.ckpt"):
        contents = [read_checkpoint(run / "checkpoints" / name).content for run in (one, other)]
        parts = ("state_dict", "optimizer_states", "global_step", "epoch")
        for part in parts:
            if not equal(contents[0][part], contents[1][part]):
                return f"another {part} in {name}"
        if not equal(contents[0]["lstm_lm"].get("state"), contents[1]["lstm_lm"].get("state")):
            return f"another LSTM state in {name}"
    return None


def _history(run: Path) -> list[list[Any]]:
    entries = json.loads((run / "metrics.json").read_text())["history"]
    return [[entry[name] for name in ("epoch", "step", "tokens", "loss")] for entry in entries]


def equal(one: Any, other: Any) -> bool:
    """Whether two trees of plain data and tensors are the same, bit by bit."""
    import torch

    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)
