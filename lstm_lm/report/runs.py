"""Run folders as records: configuration, status and metrics."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from lstm_lm.checkpoint import CHECKPOINTS, METRICS
from lstm_lm.errors import DataError
from lstm_lm.evaluation.token_scores import TOKEN_SCORES, TokenScores
from lstm_lm.serialization import flatten

CONFIG = Path(".hydra") / "config.yaml"
# where a run writes, and what it is called: not part of what it trains
_NOT_SETTINGS = ("hydra.", "name", "notes", "tags", "resume", "presets.")


@dataclass(frozen=True)
class Run:
    """A run folder of ``lstm-lm train``."""

    folder: Path
    settings: Mapping[str, Any]
    """Every setting by its dotted path; lists are values."""
    overrides: Sequence[str] = ()
    """The command line."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """The content of ``metrics.json``; empty if the run has not finished."""

    @cached_property
    def label(self) -> str:
        """The run's name, or its folder's."""
        return str(self.settings.get("name") or self.folder.name)

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
        return "finished" if self.metrics else "unfinished"

    def token_scores(self) -> TokenScores:
        """The per-token scores of the best checkpoint.

        Raises:
            DataError: If the run has none, or the file is damaged.
        """
        return TokenScores.load(self.folder / TOKEN_SCORES)


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Args:
        folder: The folder, or one of its checkpoints.

    Raises:
        DataError: If it is not the folder of a training run, or a file in it cannot be read.
    """
    if folder.suffix == ".ckpt":
        folder = folder.parent.parent
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        overrides = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(
            f"{folder}: not the folder of a run ({error}); give a folder that lstm-lm train wrote"
        ) from error
    if not isinstance(config, dict) or "trainer" not in config:
        raise DataError(f"{folder}: not the folder of a training run; give a folder that lstm-lm train wrote")
    try:
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        metrics = {}
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / METRICS}: cannot be read ({error})") from error
    return Run(folder, flatten(config), [str(line) for line in overrides or ()], metrics)


def find_runs(root: Path) -> Iterator[Run]:
    """Every training run below ``root``, by path; folders of other commands are skipped."""
    for folder, subfolders, _ in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if name not in (CHECKPOINTS, "tensorboard"))
        if ".hydra" in subfolders:
            subfolders.remove(".hydra")
            try:
                yield read_run(Path(folder))
            except DataError:
                continue


def differing_settings(runs: Sequence[Run]) -> list[str]:
    """The settings that are not the same in all runs, in the order of the config."""
    paths = dict.fromkeys(path for run in runs for path in run.settings)
    return [
        path
        for path in paths
        if not path.startswith(_NOT_SETTINGS) and len({repr(run.settings.get(path)) for run in runs}) > 1
    ]


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """A short, distinct name for each folder: its path below the common parent."""
    if len(folders) < 2:
        return [folder.name for folder in folders]
    parent = Path(os.path.commonpath([folder.absolute() for folder in folders]))
    return [str(folder.absolute().relative_to(parent)) for folder in folders]


def matches(run: Run, conditions: Iterable[str]) -> bool:
    """Whether a run fulfils every condition.

    Args:
        run: The run.
        conditions: ``KEY=VALUE`` with a setting, ``tag``, ``status`` or a part of the folder as ``folder``.

    Raises:
        DataError: If a condition has no ``=``.
    """
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals:
            raise DataError(f"--where {condition}: write KEY=VALUE, as in model.embedding_dim=400 or tag=mine")
        if key == "tag":
            found = value in run.tags
        elif key == "folder":
            found = value in str(run.folder)
        elif key == "status":
            found = value == run.status
        else:
            found = key in run.settings and run.settings[key] == yaml.safe_load(value)
        if not found:
            return False
    return True
