"""The commands as a user runs them, in processes of their own, and a small corpus to run them on."""

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

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
    """About 9,000 words with a grammar that a tiny model learns in seconds, spelt as WikiText spells them."""
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
    """The words of a file and one end of line for each line, counted without the package."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return sum(len(line.split()) for line in lines) + len(lines)


def lstm_lm(*arguments: str) -> list[str]:
    """The command line of ``lstm-lm`` with this Python."""
    return [sys.executable, "-m", "lstm_lm", *arguments]


def run(*arguments: str, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``lstm-lm`` to its end in the folder ``cwd`` and check its exit status."""
    done = subprocess.run(
        lstm_lm(*arguments), cwd=cwd, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == expect, f"exit {done.returncode} of lstm-lm {arguments}\n{done.stdout}\n{done.stderr}"
    return done


@contextmanager
def served(command: Sequence[str], cwd: Path, environment: dict[str, str] | None = None) -> Iterator[httpx.Client]:
    """A client of a service that runs as a process of its own until the block ends.

    Args:
        command: Starts the service on a free port of loopback, and prints its address.
        cwd: Working directory of the service.
        environment: Variables on top of those of this process.
    """
    # a file, not a pipe: nobody has to read it for the service to go on
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
        with httpx.Client(base_url=_address(process, log), timeout=60, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait for the line with the service's address, then for the service to be ready."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if found := SERVING_LINE.search(log.read_text(encoding="utf-8", errors="replace")):
            with suppress(httpx.TransportError):
                if httpx.get(f"{found[0]}/ready", trust_env=False).status_code == 200:
                    return found[0]
        time.sleep(0.1)
    raise AssertionError(f"the service is not ready (exit status {process.poll()}):\n{log.read_text(errors='replace')}")
