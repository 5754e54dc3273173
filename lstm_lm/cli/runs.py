"""``lstm-lm runs`` and ``lstm-lm report``."""

import math
from pathlib import Path
from typing import Annotated

import typer

from lstm_lm.cli.console import READ_IN_TRAINING, duration, number, print_rows, relative_path
from lstm_lm.errors import DataError
from lstm_lm.report.runs import find_runs, matches


def runs(
    root: Annotated[Path, typer.Argument(help="Folder to search.")] = Path("outputs"),
    where: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE: a setting, tag, status or a part of the folder; may be repeated."),
    ] = None,
    sort: Annotated[str, typer.Option(help="folder or perplexity.")] = "folder",
) -> None:
    """List the training runs below a folder."""
    if sort not in ("folder", "perplexity"):
        raise DataError(f"--sort: unknown (got {sort}); use folder or perplexity")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds the runs")
    found = [run for run in find_runs(root) if matches(run, where or ())]
    if sort == "perplexity":
        found.sort(key=lambda run: float(run.score.get("perplexity", math.inf)))
    common = set.intersection(*(set(run.overrides) for run in found)) if len(found) > 1 else set()
    print_rows(
        f"{len(found)} runs" + (f" with {' '.join(sorted(common))}" if common else ""),
        ("run", "status", "valid", "epochs", "time", "overrides"),
        [
            (
                relative_path(run.folder),
                run.status,
                number(run.score.get("perplexity")),
                number(run.metrics.get("epochs")),
                duration(run.metrics["wall_seconds"]) if run.metrics else "-",
                " ".join(line for line in run.overrides if line not in common),
            )
            for run in found
        ],
        READ_IN_TRAINING,
    )


def report(run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)]) -> None:
    """Write report.html of a run, from what its folder holds; also of a run that was interrupted."""
    from lstm_lm.report.page import write_run_report  # imports matplotlib

    print(f"wrote {relative_path(write_run_report(run))}")
