"""Commands in their own process, as a user runs them, and a small corpus for them."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from helpers.service_process import is_ready
from helpers.waiting import DEADLINE, wait_until

SUBJECTS = (
    "the cat",
    "the old dog",
    "a small bird",
    "the farmer",
    "she",
    "he",
    "the well @-@ known man",
    "the people that I know",
)
VERBS = ("saw", "followed", "didn 't like", "found", "waited for", "want to see")
OBJECTS = ("the river", "a red ball", "the barn", "an apple", "the market", "1 @,@ 000 stars")
ENDINGS = ("in the morning", "before the rain", "in 1987", "again", "with the others", ', " they said')
SERVING_LINE = re.compile(r"http://127\.0\.0\.1:\d+")


def write_corpus(folder: Path) -> Path:
    """Write about 9,000 words in WikiText's spelling, from a grammar that a tiny model learns in seconds."""
    rng = random.Random(20)
    folder.mkdir(parents=True, exist_ok=True)
    for split, num_lines in (("train", 600), ("valid", 60), ("test", 60)):
        lines = [" = Notes = ", " "]
        for _ in range(num_lines):
            parts = (rng.choice(words) for words in (SUBJECTS, VERBS, OBJECTS, ENDINGS))
            lines.append(f" {' '.join(parts)} . ")
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def count_tokens(file: Path) -> int:
    """Count words plus one ``<eos>`` per line, independently of the package."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return sum(len(line.split()) for line in lines) + len(lines)


def lstm_lm(*arguments: str) -> list[str]:
    """The command line of ``lstm-lm`` with this Python."""
    return [sys.executable, "-m", "lstm_lm", *arguments]


def run(*arguments: str, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``lstm-lm`` in the folder ``cwd`` and check its exit status."""
    done = subprocess.run(
        lstm_lm(*arguments),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == expect, f"exit {done.returncode} of lstm-lm {arguments}\n{done.stdout}\n{done.stderr}"
    return done


@contextmanager
def served(command: Sequence[str], cwd: Path, environment: dict[str, str] | None = None) -> Iterator[httpx.Client]:
    """Run a service in its own process until the block ends, and yield a client for it.

    Args:
        command: Starts the service on a free loopback port and prints its address.
        cwd: Working directory of the service.
        environment: Additional environment variables.
    """
    # a file: a pipe that is not read would block the service
    log = cwd / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=_address(process, log), timeout=DEADLINE, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait until the service has printed its address and is ready."""

    def address() -> str | None:
        output = log.read_text(encoding="utf-8", errors="replace")
        assert process.poll() is None, f"the service ended (exit status {process.poll()}):\n{output}"
        match = SERVING_LINE.search(output)
        return match[0] if match and is_ready(match[0]) else None

    return wait_until(address, log) or ""
