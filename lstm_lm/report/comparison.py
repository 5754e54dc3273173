"""Compare runs: what differs in their settings, their scores over seeds, and whether a difference is real."""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lstm_lm.errors import DataError, EvaluationError
from lstm_lm.evaluation.analysis import PairedDifference, compare_paired
from lstm_lm.report.runs import Run, differing_settings

SCORES = ("perplexity", "loss", "top1", "top5")
_COSTS = ("epochs", "steps", "wall_seconds", "tokens_per_second", "parameters")


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the setting that they are grouped by, as the seed."""

    runs: list[Run]
    settings: dict[str, Any]
    """The settings in which the groups differ."""

    def values(self, name: str) -> list[float]:
        """A score of every run that has it."""
        return [float(run.score[name]) for run in self.runs if run.score.get(name) is not None]

    def mean(self, name: str) -> float | None:
        """Mean of a score; ``None`` without one."""
        values = self.values(name)
        return statistics.fmean(values) if values else None

    def spread(self, name: str) -> float | None:
        """Sample standard deviation of a score; ``None`` with fewer than two runs."""
        values = self.values(name)
        return statistics.stdev(values) if len(values) > 1 else None


def group_runs(runs: Sequence[Run], by: str | None) -> list[Group]:
    """Group runs, the best group first.

    Args:
        runs: The runs.
        by: The setting whose values are summarized, as ``seed``; ``None`` makes a group of each run.

    Raises:
        DataError: If no run has the setting ``by``.
    """
    if by is not None and not any(by in run.settings for run in runs):
        raise DataError(f"--by {by}: no run has this setting; try --by seed")
    paths = [path for path in differing_settings(runs) if path != by]
    groups: dict[str, Group] = {}
    for run in runs:
        settings = {path: run.settings[path] for path in paths if path in run.settings}
        key = repr(settings) if by is not None else str(run.folder)
        groups.setdefault(key, Group([], settings)).runs.append(run)
    return sorted(groups.values(), key=lambda group: math.inf if (mean := group.mean("perplexity")) is None else mean)


def differences(groups: Sequence[Group]) -> list[PairedDifference | str]:
    """Each group's first run against the best group's: the paired difference, or why there is none."""
    results: list[PairedDifference | str] = []
    for group in groups[1:]:
        try:
            results.append(compare_paired(group.runs[0].token_scores(), groups[0].runs[0].token_scores()))
        except (DataError, EvaluationError) as error:
            results.append(str(error))
    return results


def as_csv(runs: Sequence[Run]) -> str:
    """One line per run, one column per setting that differs and per score."""
    paths = differing_settings(runs)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["folder", "name", "status", *paths, *(f"valid_{name}" for name in SCORES), *_COSTS])
    for run in runs:
        cells = [
            str(run.folder),
            run.label,
            run.status,
            *(run.settings.get(path) for path in paths),
            *(run.score.get(name) for name in SCORES),
            *(run.metrics.get(name) for name in _COSTS),
        ]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue()
