"""The end of a sweep: one table of all its jobs, on the screen and as ``sweep.csv``.

Jobs report through files in their folders, so that it does not matter which launcher ran them and how they ended.
"""

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_lm.cli.console import number, percent, print_commands, print_rows, relative_path
from lstm_lm.config.overrides import as_override
from lstm_lm.text.files import write_atomically

STATUS_FILE = "job.json"
_HEADER = ("job", "overrides", "status", "perplexity", "loss", "top1", "minutes", "folder", "reason")


@dataclass(frozen=True)
class JobResult:
    """How one job of a sweep ended; figures are ``None`` where it gave none."""

    name: str
    overrides: tuple[str, ...]
    status: str
    reason: str
    perplexity: float | None
    loss: float | None
    top1: float | None
    minutes: float | None
    folder: Path


def finish_sweep(folder: Path, began: float, planned: int) -> int:
    """Print the table of a sweep and write it as ``sweep.csv``.

    Args:
        folder: The sweep's folder.
        began: When it began, seconds since the epoch; what is older in the folder is of another sweep.
        planned: Number of jobs.

    Returns:
        Number of jobs that did not end well, those that never began included.
    """
    jobs = collect(folder, began)
    if jobs:
        write_atomically(folder / "sweep.csv", _as_csv(jobs))
        common = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
        print_rows(
            f"{len(jobs)} of {planned} jobs, best first",
            ("job", "overrides", "status", "perplexity", "loss", "top-1", "minutes"),
            [
                (
                    job.name,
                    " ".join(line for line in job.overrides if line not in common),
                    job.status,
                    number(job.perplexity),
                    number(job.loss, 4),
                    percent(job.top1),
                    number(job.minutes, 1),
                )
                for job in jobs
            ],
        )
        for job in jobs:
            if job.reason:
                print(f"job {job.name} {job.status}: {job.reason}")
        print(f"jobs: {relative_path(folder)}\ntable: {relative_path(folder / 'sweep.csv')}")
        best = jobs[0].folder / "checkpoints" / "best.ckpt"
        if best.is_file():
            print_commands(
                [("score the best on test", ["lstm-lm", "eval", as_override("checkpoint", relative_path(best))])]
            )
    return planned - sum(job.status == "done" for job in jobs)


def collect(folder: Path, began: float) -> list[JobResult]:
    """The jobs that began in ``folder``, by perplexity; those without one come last."""
    found = []
    for file in folder.rglob(".hydra/overrides.yaml"):
        if file.stat().st_mtime >= began - 1:
            found.append(_read_job(file.parent.parent, folder))
    return sorted(found, key=lambda job: (math.inf if job.perplexity is None else job.perplexity, job.name))


def _read_job(folder: Path, sweep: Path) -> JobResult:
    status = _read_json(folder / STATUS_FILE)
    ended, reason = status.get("status", "failed"), status.get("reason", "")
    if ended == "running" or not status:
        ended, reason = "failed", "the process ended without a word, perhaps for want of memory"
    metrics = _read_json(folder / "metrics.json") if ended == "done" else {}
    score = metrics.get("valid", metrics)
    seconds = metrics.get("wall_seconds")
    return JobResult(
        name=str(folder.relative_to(sweep)),
        overrides=tuple(status.get("overrides", [])),
        status=ended,
        reason=reason,
        perplexity=_finite(score.get("perplexity")),
        loss=_finite(score.get("loss")),
        top1=_finite(score.get("top1")),
        minutes=None if seconds is None else seconds / 60,
        folder=folder,
    )


def _finite(value: Any) -> float | None:
    """A figure, or ``None`` where there is none that can be compared."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _as_csv(jobs: list[JobResult]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for job in jobs:
        values = (job.name, " ".join(job.overrides), job.status, job.perplexity, job.loss, job.top1, job.minutes)
        writer.writerow(["" if value is None else value for value in (*values, job.folder, job.reason)])
    return text.getvalue()
