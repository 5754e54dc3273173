"""``lstm-lm compare``."""

from pathlib import Path
from typing import Annotated

import typer

from lstm_lm.cli.console import READ_IN_TRAINING, count, number, percent, print_rows, relative_path
from lstm_lm.errors import DataError
from lstm_lm.evaluation.analysis import PairedDifference
from lstm_lm.report.comparison import Group, as_csv, differences, group_runs
from lstm_lm.report.runs import Run, distinct_names, read_run
from lstm_lm.settings import show
from lstm_lm.text.files import write_atomically

_LEGEND = (
    "valid: perplexity of the best checkpoint, mean ± standard deviation over the runs of a row.\n"
    "against the first row: ratio of the perplexities of one run of each row on the same text, with its 95 % interval "
    "from resampling articles.\nThe interval covers the choice of text, the deviation the seed."
)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", show_default=False)],
    by: Annotated[str | None, typer.Option(help="Summarize runs that differ only in this setting, as seed.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write one line per run, one column per setting.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the table and the curves as one HTML file.")] = None,
) -> None:
    """Compare runs: differing settings, scores, and whether a difference is larger than chance."""
    records = [read_run(folder) for folder in runs]
    folders = [run.folder.resolve() for run in records]
    if twice := next((folder for folder in folders if folders.count(folder) > 1), None):
        raise DataError(f"{relative_path(twice)}: is given twice")
    groups = group_runs(records, by)
    names = dict(zip((run.folder for run in records), distinct_names([run.folder for run in records]), strict=True))
    header, rows = _table(groups, names)
    print_rows(f"{count(len(records), 'run')}, best first", header, rows, READ_IN_TRAINING)
    print(_LEGEND)
    if csv is not None:
        write_atomically(csv, as_csv(records))
        print(f"wrote {relative_path(csv)}")
    if html is not None:
        from lstm_lm.report.page import comparison_report  # imports matplotlib

        labelled = [(row[0], run) for row, group in zip(rows, groups, strict=True) for run in group.runs]
        page = comparison_report(count(len(records), "run"), header, rows, _LEGEND, labelled)
        write_atomically(html, page)
        print(f"wrote {relative_path(html)}")


def _table(groups: list[Group], names: dict[Path, str]) -> tuple[list[str], list[list[str]]]:
    header = ["run", "settings", "valid", "top-1", "epochs", "minutes", "against the first row"]
    rows = []
    for group, difference in zip(groups, ["", *differences(groups)], strict=True):
        first = group.runs[0]
        rows.append(
            [
                names[first.folder] + (f" and {len(group.runs) - 1} more" if len(group.runs) > 1 else ""),
                " ".join(f"{path}={_shown(value)}" for path, value in group.settings.items()),
                _mean_and_spread(group),
                percent(group.mean("top1")),
                number(first.metrics.get("epochs")),
                number(_minutes(first), 1),
                difference if isinstance(difference, str) else _describe(difference),
            ]
        )
    return header, rows


def _mean_and_spread(group: Group) -> str:
    spread = group.spread("perplexity")
    return number(group.mean("perplexity")) + (f" ± {spread:.2f}" if spread is not None else "")


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else show(value)


def _minutes(run: Run) -> float | None:
    seconds = run.metrics.get("wall_seconds")
    return None if seconds is None else seconds / 60


def _describe(difference: PairedDifference) -> str:
    verdict = "" if difference.is_significant else ", may be chance"
    return f"x {difference.ratio:.3f} ({difference.low:.3f}-{difference.high:.3f}){verdict}"
