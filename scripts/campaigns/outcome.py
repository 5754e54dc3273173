"""What a campaign found."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

Progress = Callable[[str], None]
"""Called after each trial with a line such as ``kill -9: 7 of 20``."""


@dataclass
class Outcome:
    """Trials of one kind, and how they ended."""

    name: str
    planned: int
    """Number of trials."""
    progress: Progress
    counts: Counter[str] = field(default_factory=Counter)
    """Number of trials by how they ended."""
    figures: list[str] = field(default_factory=list)
    """What was measured, one line each."""
    failures: list[str] = field(default_factory=list)
    """What must not happen; empty where everything held."""

    def record(self, ending: str) -> None:
        """Count a trial."""
        self.counts[ending] += 1
        self.progress(f"{self.name}: {self.counts.total()} of {self.planned}")

    def fail(self, message: str) -> None:
        """Count a trial that found a fault."""
        self.failures.append(f"{self.name}: {message}")
        self.record("FAILED")

    @property
    def summary(self) -> str:
        """The counts and figures, one per line."""
        return "\n".join([f"{count:,} {ending}" for ending, count in sorted(self.counts.items())] + self.figures)
