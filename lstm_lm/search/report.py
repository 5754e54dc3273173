"""Results of a study: a table, the best config as an experiment file, pictures."""

import re
import statistics
import warnings
from base64 import b64encode
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from lstm_lm.report.page import render
from lstm_lm.search.study import REASON, SEED_VALUES, num_finished


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """All trials, the best first; trials without a value come last."""
    trials = study.get_trials(deepcopy=False)
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    others = [trial for trial in trials if trial.state != TrialState.COMPLETE]
    return [*sorted(done, key=lambda trial: trial.value or 0.0), *others]


def rows(study: optuna.Study) -> list[tuple[str, str, str, str]]:
    """Trial number, state, value and overrides of every trial, the best first."""
    return [
        (str(trial.number), trial.state.name.lower(), _value(trial), " ".join(displayed(overrides(trial))))
        for trial in ranked(study)
    ]


def study_report(
    study: optuna.Study, header: Sequence[str], pictures: Sequence[Path], experiment: str, command: str
) -> str:
    """The report of a study as one HTML file.

    Args:
        study: The study, with at least one completed trial.
        header: Names of the columns of :func:`rows`.
        pictures: The files of :func:`draw`.
        experiment: The best trial as an experiment.
        command: The command that runs it.
    """
    images = [(file.stem.replace("_", " "), b64encode(file.read_bytes()).decode()) for file in pictures]
    title = f"Study {study.study_name}"
    best = _value(study.best_trial)
    return render(
        "study.html", title=title, best=best, header=header, rows=rows(study), pictures=images, experiment=experiment,
        command=command,
    )  # fmt: skip


def _value(trial: FrozenTrial) -> str:
    seeds = trial.user_attrs.get(SEED_VALUES, [])
    if trial.value is None:
        # a trial that was interrupted, or whose worker died, has no reason: it is queued again
        return str(trial.user_attrs.get(REASON, "repeated" if trial.state == TrialState.FAIL else "-"))
    spread = f" ± {statistics.stdev(seeds):.2f}" if len(seeds) > 1 else ""
    return f"{trial.value:.2f}{spread}"


def overrides(trial: FrozenTrial) -> list[str]:
    """What a trial sets, as on the command line."""
    return [f"{key}={value}" for key, value in trial.params.items()]


def displayed(lines: Sequence[str]) -> list[str]:
    """Overrides with numbers rounded to four digits, for a table."""
    return [re.sub(r"=(\d+\.\d+(?:e-?\d+)?)$", lambda match: f"={float(match[1]):.4g}", line) for line in lines]


def importances(study: optuna.Study) -> dict[str, float]:
    """How much of the variance each setting explains, in [0, 1] (PED-ANOVA, Watanabe et al. 2023); empty if unknown."""
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    if len(done) < 4 or len({trial.value for trial in done}) < 2:
        return {}
    return optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())


def draw(study: optuna.Study, folder: Path) -> list[Path]:
    """Write the pictures of a study as PNG: history, importances, parallel coordinates, slices.

    Returns:
        The files; one is missing if the study has too few trials for it.
    """
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter
    from optuna.visualization import matplotlib as plots

    plt.switch_backend("agg")
    if not any(trial.state == TrialState.COMPLETE for trial in study.get_trials(deepcopy=False)):
        return []
    pictures: dict[str, Callable[..., Any]] = {"history": plots.plot_optimization_history}
    if importances(study):
        pictures["importances"] = partial(plots.plot_param_importances, evaluator=PedAnovaImportanceEvaluator())
    pictures |= {"parallel_coordinates": plots.plot_parallel_coordinate, "slices": plots.plot_slice}
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, plot in pictures.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of axes with a single value
            axes = plot(study, target_name="valid perplexity")
        figure = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
        for panel in figure.axes:
            if panel.get_xscale() == "log":
                panel.xaxis.set_minor_formatter(NullFormatter())  # its labels overlap
        file = folder / f"{name}.png"
        figure.savefig(file, dpi=110, bbox_inches="tight")
        plt.close(figure)
        files.append(file)
    return files


def deletions(overrides: Sequence[str]) -> list[str]:
    """Those of ``overrides`` that delete a setting, as ``~optimizer.betas``."""
    return [line for line in overrides if line.startswith("~")]


def as_experiment(study: optuna.Study, fixed: Sequence[str], groups: Collection[str]) -> str:
    """The best trial as the YAML file of an ``experiment``, with which it can be run again.

    A file cannot delete a setting: the command line that runs it repeats the :func:`deletions`.

    Args:
        study: The study, with at least one completed trial.
        fixed: The overrides of every trial.
        groups: Names of the config groups.
    """
    parser = OverridesParser.create()
    defaults: list[str | dict[str, Any]] = []
    added: list[dict[str, Any]] = []
    replaced: list[dict[str, Any]] = []  # Hydra wants these last
    values = OmegaConf.create()
    best = study.best_trial
    for override in parser.parse_overrides([*fixed, *overrides(best)]):
        key, value = override.key_or_group, override.value()
        if override.is_delete():
            continue
        if key == "experiment":
            defaults.append(str(value))
        elif key in groups:
            place = f"/{key}" + (f"@{override.package}" if override.package else "")
            if override.is_add():
                added.append({place: value})
            else:
                replaced.append({f"override {place}": value})
        elif not override.is_hydra_override():
            OmegaConf.update(values, key, value, force_add=True)
    settings = OmegaConf.to_container(values)
    assert isinstance(settings, dict)
    content = {"defaults": [*defaults, *added, *replaced, "_self_"], **settings}
    number = num_finished(study)
    seeds = len(best.user_attrs.get(SEED_VALUES, []))
    mean = f", the mean of {seeds} seeds" if seeds > 1 else ""
    title = f"# Best of {number} trials of the study {study.study_name}: valid perplexity {best.value:.2f}{mean}."
    return f"# @package _global_\n{title}\n{OmegaConf.to_yaml(OmegaConf.create(content))}"
