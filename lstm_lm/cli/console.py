"""Console output of the commands: tables, and commands to copy."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text  # cells contain words of a corpus: [i] must not be parsed as markup

from lstm_lm.cli.terminal import printable


def print_key_values(title: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Print a table of names and values."""
    table = Table(title=Text(printable(title)), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(printable(name)), Text(printable(value)))
    Console().print(table)


READ_IN_TRAINING = "Perplexity of valid, read in batching.eval_batch_size streams; lstm-lm eval reads 1."
"""Caption of a table with the scores of training runs."""


def print_rows(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], caption: str | None = None) -> None:
    """Print a table with a header."""
    table = Table(title=Text(printable(title)), title_justify="left", caption=caption, caption_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)


def print_commands(commands: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Print commands, each on its own line under its purpose."""
    for purpose, words in commands:
        print(f"\n# {purpose}\n{shlex.join(words)}")


def relative_path(path: Path) -> str:
    """``path`` relative to the working directory if it is inside, else absolute."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def number(value: object, digits: int = 2) -> str:
    """Format a number for a table; a dash for anything else."""
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def count(number: int, noun: str) -> str:
    """A number and what it counts, as in ``1 run`` and ``2 runs``."""
    return f"{number:,} {noun}" + ("s" if number != 1 else "")


def percent(value: object) -> str:
    """Format a fraction as a percentage; a dash for anything that is not a number."""
    return f"{100 * value:.2f} %" if isinstance(value, int | float) else "-"


def duration(seconds: float) -> str:
    """Format a time in seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
