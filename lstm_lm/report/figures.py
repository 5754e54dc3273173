"""Figures of a run, for its report and for the loggers.

Text and axes have the color of the page (``currentColor``), so one file is readable in light and in dark mode.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lstm_lm.evaluation.analysis import Bucket, Calibration, by_frequency, by_position, calibration
from lstm_lm.evaluation.token_scores import TokenScores

# Okabe and Ito (2008), "Color Universal Design": distinct for color-blind readers, on white and on black
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#b22222")
_LINE_STYLES = ("-", "--", ":", "-.")  # of eight curves each
_MAX_INSIDE = 8  # entries of a legend that covers a part of the curves
_INK = "#010203"  # almost black; replaced by currentColor in SVG
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "grid.color": _INK,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Curve:
    """A line of a figure."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def curves(lines: Sequence[Curve], x_label: str) -> Figure:
    """Perplexity over steps, tokens or minutes; a curve with few points has markers.

    Curves with the same label have the same color, and one entry in the legend.
    """
    numbers: dict[str, int] = {}
    with _new_axes() as (figure, axes):
        for line in lines:
            label = None if line.label in numbers else line.label
            turn, number = divmod(numbers.setdefault(line.label, len(numbers)), len(COLORS))
            axes.plot(
                line.x,
                line.y,
                label=label,
                color=COLORS[number],
                linestyle=_LINE_STYLES[turn % len(_LINE_STYLES)],
                marker="o" if len(line.x) < 30 else None,
                markersize=4,
            )
        _log_perplexity(axes)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(_short_number))
        axes.set_xlabel(x_label)
        if len(numbers) > _MAX_INSIDE:
            figure.legend(loc="outside right upper", fontsize=8)
            figure.set_figheight(max(figure.get_figheight(), 0.17 * len(numbers)))
        elif len(numbers) > 1:
            axes.legend()
    return figure


def buckets(rows: Sequence[Bucket], x_label: str) -> Figure:
    """Perplexity of each bucket as bars, with its share of the tokens above."""
    with _new_axes() as (figure, axes):
        bars = axes.bar(range(len(rows)), [row.perplexity for row in rows], color=COLORS[0])
        axes.set_xticks(range(len(rows)), [row.label for row in rows])
        axes.bar_label(bars, [f"{100 * row.share:.0f} %" for row in rows], padding=2)
        _log_perplexity(axes)
        axes.set_xlabel(f"{x_label} (above each bar: share of the tokens)")
        axes.grid(visible=False, axis="x")
        axes.margins(y=0.15)
    return figure


def reliability_diagram(result: Calibration) -> Figure:
    """Accuracy over confidence; the diagonal is perfect calibration (Guo et al. 2017, figure 1)."""
    with _new_axes() as (figure, axes):
        axes.plot([0, 1], [0, 1], color=_INK, alpha=0.4, linewidth=1, linestyle="--", label="perfect")
        axes.plot(
            result.confidence,
            result.accuracy,
            color=COLORS[0],
            marker="o",
            markersize=4,
            label="model",
            clip_on=False,  # a marker at 0 or 1
        )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("confidence in the most probable word")
        axes.set_ylabel("accuracy")
        axes.legend(loc="upper left")
    return figure


def score_figures(scores: TokenScores, num_words: int) -> dict[str, Figure]:
    """The figures of a model's token scores, by name.

    Args:
        scores: The scores.
        num_words: Size of the vocabulary.
    """
    return {
        "perplexity_by_frequency": buckets(by_frequency(scores, num_words), "frequency rank in train"),
        "perplexity_by_position": buckets(by_position(scores), "position in the line"),
        "calibration": reliability_diagram(calibration(scores)),
    }


def as_svg(figure: Figure, title: str) -> str:
    """The figure as an SVG element that scales with the page, readable by screen readers through ``title``.

    Args:
        figure: The figure.
        title: Another one for each figure of a page: it makes their ids distinct.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r'^<svg [^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{title}">', svg)
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)


@contextmanager
def _new_axes() -> Iterator[tuple[Figure, Axes]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        yield figure, figure.subplots()


def _log_perplexity(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    # on a range of less than a decade the ticks are not whole numbers
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("perplexity")


def _short_number(value: float, _position: int | None = None) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
