"""The result of a sweep: one table of all jobs, printed and written to ``sweep.csv``.

Jobs report through files in their folders, so any launcher works, and killed jobs are reported too.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_lm.checkpoint import BEST, CHECKPOINTS, METRICS
from lstm_lm.cli.console import READ_IN_TRAINING, number, percent, print_commands, print_rows, relative_path
from lstm_lm.config.overrides import as_override
from lstm_lm.text.files import write_atomically

STATUS_FILE = "job.json"
_HEADER = ("job", "overrides", "status", "perplexity", "loss", "top1", "minutes", "folder", "reason")


@dataclass(frozen=True)
class JobResult:
    """Result of one job of a sweep; a metric is ``None`` if the job did not report it."""

    name: str
    overrides: tuple[str, ...]
    status: str
    reason: str
    perplexity: float | None
    loss: float | None
    top1: float | None
    minutes: float | None
    folder: Path


def report_sweep(
    folder: Path,
    before: Mapping[Path, int],
    num_jobs: int | None,
    skipped: Sequence[Path] = (),
    interrupted: bool = False,
) -> int:
    """Print the table of a sweep and write it to ``sweep.csv``.

    Args:
        folder: The sweep's folder.
        before: Job files at the start of the sweep; a job whose file has not changed since did not run.
        num_jobs: Number of jobs in the sweep; ``None`` if it is not known in advance.
        skipped: Folders of jobs that were done before.
        interrupted: Whether a signal ended the sweep, so that a job without a result did not fail.

    Returns:
        Number of jobs that failed or never started.
    """
    jobs = collect_jobs(folder, before, skipped, interrupted)
    num_jobs = len(jobs) if num_jobs is None else num_jobs
    if jobs:
        write_atomically(folder / "sweep.csv", _as_csv(jobs))
        common = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
        print_rows(
            f"{len(jobs)} of {num_jobs} jobs, best first",
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
            READ_IN_TRAINING if (best := jobs[0].folder / CHECKPOINTS / BEST).is_file() else None,
        )
        for job in jobs:
            if job.reason:
                print(f"job {job.name} {job.status}: {job.reason}")
        print(f"jobs: {relative_path(folder)}\ntable: {relative_path(folder / 'sweep.csv')}")
        if best.is_file():
            print_commands(
                [("score the best model on test", ["lstm-lm", "eval", as_override("checkpoint", relative_path(best))])]
            )
    return num_jobs - sum(job.status == "done" for job in jobs)


def find_job_files(folder: Path) -> dict[Path, int]:
    """The file that Hydra writes at the start of each job, with its modification time in nanoseconds."""
    return {file: file.stat().st_mtime_ns for file in folder.rglob(".hydra/overrides.yaml")}


def collect_jobs(
    folder: Path, before: Mapping[Path, int], skipped: Sequence[Path] = (), interrupted: bool = False
) -> list[JobResult]:
    """The jobs of a sweep by perplexity; jobs without one come last."""
    started = {file.parent.parent for file, mtime in find_job_files(folder).items() if before.get(file) != mtime}
    jobs = [_read_job(job, folder, interrupted) for job in started | set(skipped)]
    return sorted(jobs, key=lambda job: (math.inf if job.perplexity is None else job.perplexity, job.name))


def _read_job(folder: Path, sweep: Path, interrupted: bool) -> JobResult:
    report = _read_json(folder / STATUS_FILE)
    status, reason = report.get("status", "running"), report.get("reason", "")
    if status == "running" and interrupted:
        status, reason = "interrupted", "the sweep was stopped"
    elif status == "running":
        status, reason = "failed", "the process died without an error; possibly out of memory"
    metrics = _read_json(folder / METRICS) if status == "done" else {}
    score = metrics.get("valid", metrics)
    seconds = metrics.get("wall_seconds")
    if "perplexity" in score and _finite_or_none(score["perplexity"]) is None:
        status, reason = "failed", "the perplexity is not finite"
    return JobResult(
        name=str(folder.relative_to(sweep)),
        overrides=tuple(report.get("overrides", [])),
        status=status,
        reason=reason,
        perplexity=_finite_or_none(score.get("perplexity")),
        loss=_finite_or_none(score.get("loss")),
        top1=_finite_or_none(score.get("top1")),
        minutes=None if seconds is None else seconds / 60,
        folder=folder,
    )


def read_perplexity(folder: Path) -> float | None:
    """The perplexity that a finished job recorded."""
    metrics = _read_json(folder / METRICS)
    return _finite_or_none(metrics.get("valid", metrics).get("perplexity"))


def _finite_or_none(value: Any) -> float | None:
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
