"""Plot the curves of training runs as a PNG, from their TensorBoard files and metrics.json.

::

    python scripts/plot_training.py outputs/train/DATE/TIME --out curves.png
    python scripts/plot_training.py outputs/baseline outputs/60min --against minutes --out race.png
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Points = NDArray[np.float64]

AXES = {"epochs": "epoch", "minutes": "minutes"}  # label of the horizontal axis, and its key in the history


@dataclass(frozen=True)
class Run:
    """The curves of a run.

    Attributes:
        name: Name in the legend.
        valid: One column per validation: position, perplexity, top-1 and top-5 in per cent; shape (4, N).
        train: One column per logged step: position, loss, learning rate; shape (3, M).
    """

    name: str
    valid: Points
    train: Points


def read_run(folder: Path, name: str, axis: str) -> Run:
    """Read a run folder of ``lstm-lm train``.

    Args:
        folder: The run folder.
        name: Name in the legend.
        axis: Position of a point on the horizontal axis: ``epoch`` or ``minutes``, keys of the history in
            ``metrics.json``.

    Raises:
        SystemExit: If the folder holds no finished run with TensorBoard files.
    """
    try:
        history = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["history"]
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(f"error: {folder} is not the folder of a finished training run ({error})") from error
    files = next((folder / "tensorboard").rglob("events.out.*"), None)
    events = EventAccumulator(str(folder if files is None else files.parent), size_guidance={"scalars": 0}).Reload()
    if not history or "train/loss" not in events.Tags()["scalars"]:
        raise SystemExit(f"error: {folder} has no curves; train with logger=tensorboard and at least one validation")
    loss, rate = events.Scalars("train/loss"), events.Scalars("train/learning_rate")
    # logged steps have no epoch or time: interpolate between validations
    steps, positions = [0, *(entry["step"] for entry in history)], [0.0, *(entry[axis] for entry in history)]
    train = [(np.interp(a.step, steps, positions), a.value, b.value) for a, b in zip(loss, rate, strict=True)]
    valid = [(e[axis], e["perplexity"], 100 * e["top1"], 100 * e["top5"]) for e in history]
    return Run(name, np.array(valid).T, np.array(train).T)


def smooth(values: Points, width: int) -> Points:
    """Moving average over ``width`` values, fewer at the ends."""
    kernel = np.ones(min(width, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def draw(runs: list[Run], axes: list[Axes], against: str) -> None:
    """Draw perplexity, accuracy and learning rate over ``against``, one panel each and one color per run."""
    perplexity, accuracy, rate = axes
    for index, run in enumerate(runs):
        color = f"C{index}"
        positions, loss, learning_rate = run.train
        train = np.exp(smooth(loss, max(len(loss) // 60, 1)))
        perplexity.plot(positions, train, color=color, alpha=0.35, linewidth=1.2)
        perplexity.plot(run.valid[0], run.valid[1], "o-", color=color, markersize=3)
        accuracy.plot(run.valid[0], run.valid[3], "o-", color=color, markersize=3)
        accuracy.plot(run.valid[0], run.valid[2], "o--", color=color, markersize=3)
        rate.plot(positions, learning_rate, color=color, label=run.name)
    perplexity.set_ylim(0, 2 * min(float(run.valid[1][0]) for run in runs))
    accuracy.set_ylim(bottom=0)
    rate.set_ylim(bottom=0)
    titles = ("perplexity: valid (train faint)", "valid accuracy, %: top-5 (top-1 dashed)", "learning rate")
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title)
        panel.set_xlabel(against)
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)


def main() -> None:
    """Read the arguments and write the plot."""
    parser = argparse.ArgumentParser(description="Plot the curves of training runs as a PNG.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished training run")
    parser.add_argument("--names", nargs="+", help="names of the runs in the legend (default: the folder names)")
    parser.add_argument("--against", choices=AXES, default="epochs", help="horizontal axis (default: epochs)")
    parser.add_argument("--out", type=Path, default=Path("curves.png"), help="output file (default: curves.png)")
    arguments = parser.parse_args()
    names = arguments.names or [folder.name for folder in arguments.runs]
    if len(names) != len(arguments.runs):
        parser.error(f"--names: needs one name per run ({len(arguments.runs)})")
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    runs = [read_run(folder, name, AXES[arguments.against]) for folder, name in zip(arguments.runs, names, strict=True)]
    draw(runs, list(axes), arguments.against)
    figure.legend(loc="outside lower center", ncols=len(runs), frameon=False)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out, dpi=110)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
