"""``lstm-lm runs`` and ``lstm-lm report``."""

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from lstm_lm.cli.console import READ_IN_TRAINING, count, duration, number, print_rows, relative_path
from lstm_lm.errors import DataError
from lstm_lm.report.runs import find_runs, select


def runs(
    root: Annotated[Path, typer.Argument(help="Folder to search.")] = Path("outputs"),
    where: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE: a setting, config group, tag, status or a part of the folder; may be repeated."),
    ] = None,
    sort: Annotated[str, typer.Option(help="folder or perplexity.")] = "folder",
) -> None:
    """List the training runs below a folder."""
    if sort not in ("folder", "perplexity"):
        raise DataError(f"--sort: unknown (got {sort}); use folder or perplexity")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds the runs")
    found = select(list(find_runs(root, lambda line: print(f"warning: {line}", file=sys.stderr))), where or ())
    if not found:
        print(f"no runs below {root}" + (f" with {' and '.join(where)}" if where else ""))
        return
    if sort == "perplexity":
        found.sort(key=lambda run: math.inf if (value := run.score.get("perplexity")) is None else float(value))
    common = set.intersection(*(set(run.overrides) for run in found)) if len(found) > 1 else set()
    print_rows(
        count(len(found), "run") + (f" with {' '.join(sorted(common))}" if common else ""),
        ("run", "status", "valid", "epochs", "time", "overrides"),
        [
            (
                relative_path(run.folder),
                run.status,
                number(run.score.get("perplexity")),
                number(run.metrics.get("epochs")),
                duration(seconds) if (seconds := run.metrics.get("wall_seconds")) is not None else "-",
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
