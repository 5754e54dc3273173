"""``report.html``: one file without outside resources."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lstm_lm.checkpoint import BEST, CHECKPOINTS, read_checkpoint
from lstm_lm.evaluation.analysis import MIN_WORD_COUNT, calibration, hardest_and_easiest
from lstm_lm.evaluation.token_scores import TOKEN_SCORES, TokenScores
from lstm_lm.report.figures import Curve, as_svg, curves, score_figures
from lstm_lm.report.runs import Run, read_run
from lstm_lm.settings import show
from lstm_lm.text.files import write_atomically

REPORT = "report.html"
CURVE_AXES = {"step": "steps", "tokens": "tokens", "minutes": "minutes"}
"""Keys of a history entry that a curve can be drawn over, and their labels."""


def run_report(run: Run, scores: TokenScores | None = None, words: Sequence[str] = ()) -> str:
    """The report of one run.

    Args:
        run: The run.
        scores: Per-token scores of its best checkpoint on valid.
        words: Its vocabulary; needed with ``scores``.
    """
    metrics, score = run.metrics, run.score
    parts: dict[str, Any] = {"scored": None}
    if scores is not None:
        hardest, easiest = hardest_and_easiest(scores, words)
        number = len(scores.nll)
        part = "all" if number == scores.split_tokens else f"{number:,} of the {scores.split_tokens:,}"
        figures = score_figures(scores, len(words))
        parts = {
            "scored": f"From {part} tokens of valid, scored by best.ckpt.",
            "frequency": as_svg(figures["perplexity_by_frequency"], "Perplexity by frequency"),
            "position": as_svg(figures["perplexity_by_position"], "Perplexity by position"),
            "reliability": as_svg(figures["calibration"], "Calibration"),
            "expected_error": _percent(calibration(scores).expected_error),
            "top_k": [
                (f"top-{k}", _percent(score.get(f"top{k}")), _percent((score.get("words") or {}).get(f"top{k}")))
                for k in (1, 3, 5)
                if f"top{k}" in score
            ],
            "min_count": MIN_WORD_COUNT,
            "hardest": [(entry.word, f"{entry.count:,}", f"{entry.loss:.2f}") for entry in hardest],
            "easiest": [(entry.word, f"{entry.count:,}", f"{entry.loss:.2f}") for entry in easiest],
        }
    tiles = [
        ("valid perplexity", _number(score.get("perplexity"), 2)),
        ("top-1", _percent(score.get("top1"))),
        ("top-5", _percent(score.get("top5"))),
        ("epochs", _number(metrics.get("epochs"), 2)),
        ("minutes", _number((metrics.get("wall_seconds") or 0.0) / 60, 1)),
        ("tokens per second", _number(metrics.get("tokens_per_second"), 0)),
        ("parameters", _number(metrics.get("parameters"), 0)),
    ]
    streams = metrics.get("valid_streams")
    return render(
        "run.html",
        title=run.label.replace(",", ", "),
        subtitle=", ".join([run.status, *(f"#{tag}" for tag in run.tags), str(run.folder)]),
        notes=run.settings.get("notes") or "",
        tiles=[tile for tile in tiles if tile[1] != "-"],
        how_read=f"Perplexity of valid, read as {streams} streams; lstm-lm eval reads 1." if streams else "",
        curves=_run_curves(run),
        samples=metrics.get("samples") or {},
        command=shlex.join(run.command),
        settings=[(path, show(value)) for path, value in run.settings.items() if not path.startswith("presets.")],
        versions=list((metrics.get("versions") or {}).items()),
        **parts,
    )


def write_run_report(folder: Path, words: Sequence[str] | None = None) -> Path:
    """Write the report of a run to its folder, from what the folder holds.

    Args:
        folder: The run folder.
        words: The vocabulary; ``None`` reads it from ``best.ckpt``.

    Returns:
        The file.

    Raises:
        DataError: If ``folder`` is not the folder of a training run.
        CheckpointError: If ``best.ckpt`` cannot be read.
    """
    run = read_run(folder)
    best = run.folder / CHECKPOINTS / BEST
    scores: TokenScores | None = None
    if (run.folder / TOKEN_SCORES).is_file() and best.is_file():
        scores = run.token_scores()
        words = read_checkpoint(best).metadata.vocabulary.words if words is None else words
    file = run.folder / REPORT
    write_atomically(file, run_report(run, scores, words or ()))
    return file


def comparison_report(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    legend: str,
    runs: Sequence[tuple[str, Run]],
) -> str:
    """The report of several runs.

    Args:
        title: Heading.
        header: Names of the columns of the score table: run, settings, four numbers, difference.
        rows: Its cells, as text.
        legend: Sentences below the table.
        runs: The runs, each with the name of its row.
    """
    figures = []
    for key, label in CURVE_AXES.items():
        lines = [
            Curve(name, [entry[key] for entry in run.history], [entry["perplexity"] for entry in run.history])
            for name, run in runs
            if run.history
        ]
        if lines:
            figures.append((label, as_svg(curves(lines, label), f"Perplexity over {label}")))
    return render("comparison.html", title=title, header=header, rows=rows, legend=legend, curves=figures)


def _run_curves(run: Run) -> list[tuple[str, str]]:
    history = run.history
    figures = []
    for key, label in CURVE_AXES.items():
        positions = [entry[key] for entry in history if key in entry]
        if len(positions) < 2:
            continue
        lines = [Curve("valid", positions, [entry["perplexity"] for entry in history])]
        if all("train_perplexity" in entry for entry in history):
            lines.append(Curve("train, with dropout", positions, [entry["train_perplexity"] for entry in history]))
        figures.append((label, as_svg(curves(lines, label), f"Perplexity over {label}")))
    return figures


def render(template: str, **values: Any) -> str:
    """A page from a file in ``templates``."""
    environment = Environment(
        loader=PackageLoader("lstm_lm.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(**values)


def _number(value: object, digits: int) -> str:
    return f"{value:,.{digits}f}" if isinstance(value, int | float) and value else "-"


def _percent(value: object) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, int | float) else "-"
