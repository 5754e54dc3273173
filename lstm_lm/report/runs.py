"""Run folders as records: configuration, status and metrics."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from lstm_lm.checkpoint import CHECKPOINTS, METRICS
from lstm_lm.errors import DataError, did_you_mean
from lstm_lm.evaluation.token_scores import TOKEN_SCORES, TokenScores
from lstm_lm.serialization import flatten

_HYDRA = ".hydra"
NOT_SETTINGS = (
    "hydra.", "name", "notes", "tags", "resume", "presets.", "sampling.", "logger.", "trainer.log_every_n_steps",
    "data.title", "data.url", "data.license", "data.language", "data.cache_dir",
)  # fmt: skip
"""Prefixes of what does not change a score: where a run writes, what it is called, how a model card describes it."""
LOCATIONS = ("data.dir", "data.file", "data.cache_dir")
"""Where a corpus is: settings of one machine."""
_UNNAMED = ("experiment", "resume", "name", "notes", "tags", *LOCATIONS)
_MAX_NAME = 100  # characters
_CONDITIONS = ("tag", "status", "folder")
# both are safe; the C parser is ten times as fast, which matters for a folder of many runs
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotARunError(DataError):
    """A folder is not that of a training run."""


@dataclass(frozen=True)
class Run:
    """A run folder of ``lstm-lm train``."""

    folder: Path
    settings: Mapping[str, Any]
    """Every setting by its dotted path; lists are values."""
    overrides: Sequence[str] = ()
    """The command line."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """The content of ``metrics.json``; empty before the first validation."""

    @cached_property
    def label(self) -> str:
        """The run's name, or what was chosen on its command line."""
        return str(self.settings.get("name") or run_name(self.overrides))

    @cached_property
    def _hydra(self) -> Mapping[str, Any]:
        """What Hydra recorded of the run's composition."""
        content = _read_yaml(self.folder / _HYDRA / "hydra.yaml")
        runtime = content.get("hydra", {}).get("runtime") if isinstance(content, dict) else None
        return runtime if isinstance(runtime, dict) else {}

    @property
    def choices(self) -> Mapping[str, Any]:
        """The option of each config group, as ``model``; ``experiment`` is one of them."""
        return self._hydra.get("choices") or {}

    @property
    def command(self) -> list[str]:
        """The command that started the run, without its folder."""
        sources = self._hydra.get("config_sources") or ()
        folders = [source["path"] for source in sources if source.get("provider") == "command-line"]
        return ["lstm-lm", "train", *(word for path in folders for word in ("--config-dir", path)), *self.overrides]

    @property
    def tags(self) -> list[str]:
        """The tags given with ``tags=[…]``."""
        return [str(tag) for tag in self.settings.get("tags") or ()]

    @property
    def score(self) -> Mapping[str, Any]:
        """The valid score of the best checkpoint; empty without a validation."""
        return self.metrics.get("valid") or {}

    @property
    def history(self) -> list[Mapping[str, Any]]:
        """One entry per validation."""
        return list(self.metrics.get("history") or ())

    @property
    def status(self) -> str:
        """``finished``, or ``unfinished``: running, interrupted or failed."""
        return "finished" if {"stopped_by", "overfit"} & set(self.metrics) else "unfinished"

    def token_scores(self) -> TokenScores:
        """The per-token scores of the best checkpoint.

        Raises:
            DataError: If the run has none, or the file is damaged.
        """
        if not (self.folder / TOKEN_SCORES).is_file():
            raise DataError(f"{self.folder}: has no {TOKEN_SCORES}, which a validation writes")
        return TokenScores.load(self.folder / TOKEN_SCORES)


def run_name(overrides: Iterable[str]) -> str:
    """A name for a run from what was chosen on the command line, as in ``quickstart,seed=2,lr=0.003``.

    Args:
        overrides: The overrides of the command line.
    """
    choices = [(line.partition("=")[0].lstrip("+"), line) for line in overrides]
    experiment = [line.partition("=")[2] for key, line in choices if key == "experiment"]
    # the last settings, which a sweep adds, come first: TensorBoard shows the beginning of a name
    parts = [line for key, line in reversed(choices) if key not in _UNNAMED]
    # the last part of a setting's path is enough to tell runs apart
    parts = [re.sub(r"^([+~]*)[\w.]*\.(?=\w+(=|$))", r"\1", line) for line in parts]
    while len(name := ",".join([*experiment, *parts])) > _MAX_NAME and len(parts) > 1:
        parts = parts[:-1]
    return re.sub(r"[^\w.,=+~@-]+", "_", name or "default")[:_MAX_NAME]


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Args:
        folder: The folder, or one of its checkpoints.

    Raises:
        NotARunError: If it is not the folder of a training run.
        DataError: If a file in it cannot be read.
    """
    if folder.suffix == ".ckpt":
        folder = folder.parent.parent
    if not folder.is_dir():
        raise NotARunError(f"{folder}: no such folder; give a folder that lstm-lm train wrote")
    config = _read_yaml(folder / _HYDRA / "config.yaml")
    if not isinstance(config, dict) or "trainer" not in config:
        raise NotARunError(f"{folder}: not the folder of a training run; give a folder that lstm-lm train wrote")
    overrides = _read_yaml(folder / _HYDRA / "overrides.yaml")
    return Run(folder, flatten(config), [str(line) for line in overrides or ()], _read_metrics(folder / METRICS))


def _read_yaml(file: Path) -> Any:
    """The content of a file of Hydra; ``None`` without the file."""
    try:
        return yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from error


def _read_metrics(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: cannot be read (not the metrics of a run)")
    if (history := content.get("history")) and "stopped_by" not in content:  # the run has not ended
        last, best = history[-1], min(history, key=lambda entry: entry["loss"])
        content |= {"valid": best, "epochs": last["epoch"], "steps": last["step"], "wall_seconds": 60 * last["minutes"]}
    return content


def find_runs(root: Path, warn: Callable[[str], None]) -> Iterator[Run]:
    """Every training run below ``root``, by path; folders of other commands are skipped.

    Args:
        root: The folder.
        warn: Gets a line for each run that cannot be read.
    """
    for folder, subfolders, _ in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name not in (CHECKPOINTS, "tensorboard"))
        if _HYDRA in subfolders:
            subfolders.remove(_HYDRA)
            try:
                yield read_run(Path(folder))
            except NotARunError:
                continue
            except DataError as error:
                warn(str(error))


def differing_settings(runs: Sequence[Run]) -> list[str]:
    """The settings that are not the same in all runs, in the order of the config."""
    paths = dict.fromkeys(path for run in runs for path in run.settings)
    return [
        path
        for path in paths
        if not path.startswith(NOT_SETTINGS) and len({repr(run.settings.get(path)) for run in runs}) > 1
    ]


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """A short, distinct name for each folder: its path below the folder that all are in."""
    parent = Path(os.path.commonpath([folder.absolute().parent for folder in folders]))
    return [str(folder.absolute().relative_to(parent)) for folder in folders]


def select(runs: Sequence[Run], conditions: Iterable[str]) -> list[Run]:
    """The runs that fulfil every condition.

    Args:
        runs: The runs.
        conditions: ``KEY=VALUE`` with a setting, a config group, ``tag``, ``status`` or a part of the folder as
            ``folder``.

    Raises:
        DataError: If a condition cannot be read, or no run has its key.
    """
    for condition in conditions:
        key, equals, text = condition.partition("=")
        try:
            value = yaml.load(text, _Loader)
        except yaml.YAMLError as error:
            raise DataError(f"--where {condition}: the value cannot be read; write KEY=VALUE") from error
        if isinstance(value, str):
            with suppress(ValueError):
                value = float(value)  # YAML reads 1e-2 as a text
        if not equals:
            raise DataError(f"--where {condition}: write KEY=VALUE, as in model.embedding_dim=400 or tag=mine")
        if runs and key not in _CONDITIONS and not any(key in run.settings or key in run.choices for run in runs):
            known = {*_CONDITIONS, *(name for run in runs for name in (*run.settings, *run.choices))}
            remedy = did_you_mean(key, known, otherwise=f"give a setting, a config group, {', '.join(_CONDITIONS)}")
            raise DataError(f"--where {condition}: no run has the setting {key}; {remedy}")
        runs = [run for run in runs if _matches(run, key, text, value)]
    return list(runs)


def _matches(run: Run, key: str, text: str, value: Any) -> bool:
    if key == "tag":
        return text in run.tags
    if key == "folder":
        return text in str(run.folder)
    if key == "status":
        return text == run.status
    values = [source[key] for source in (run.settings, run.choices) if key in source]
    return any(known == value or str(known) == text for known in values)
