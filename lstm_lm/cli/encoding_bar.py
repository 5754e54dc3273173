"""Progress of encoding a corpus."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lstm_lm.data.encoding import EncodingProgress


@contextmanager
def encoding_bar() -> Iterator[EncodingProgress | None]:
    """A progress bar on standard error, or ``None`` where that is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    tasks: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True) as bar:

        def show(split: str, done: int, total: int) -> None:
            if split not in tasks:
                tasks[split] = bar.add_task(f"encoding {split}")
            bar.update(tasks[split], completed=done, total=total)

        yield show
