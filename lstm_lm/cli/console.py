"""What the commands print: tables, and commands to copy."""

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text  # a cell may hold words of a corpus, and [i] is no markup there


def first_process() -> bool:
    """Whether this is the process that talks to the user: the only one, or the first of several."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def print_key_values(title: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and their values."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(name), Text(value))
    Console().print(table)


def print_rows(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table with a header."""
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def print_commands(commands: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Print commands, each under what it does and on a line of its own that can be copied."""
    for purpose, words in commands:
        print(f"\n# {purpose}\n{shlex.join(words)}")


def relative_path(path: Path) -> str:
    """``path`` as it is shortest to type from here."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def number(value: object, digits: int = 2) -> str:
    """A figure for a table; a dash where there is none."""
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def percent(value: object) -> str:
    """A share as a percentage; a dash where there is none."""
    return f"{100 * value:.2f} %" if isinstance(value, int | float) else "-"


def duration(seconds: float) -> str:
    """A time as it is read best."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
