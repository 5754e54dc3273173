"""Hydra's own settings (``hydra.*``, ``hydra/*``) on a command line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from hydra import compose
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lstm_lm.config.overrides import COMPOSE_ERRORS, short_message
from lstm_lm.errors import closest


@dataclass(frozen=True)
class HydraSettings:
    """The parts of Hydra's own config that validation needs."""

    overrides: list[str]
    """The valid overrides of Hydra's own settings."""
    multirun: bool
    sweeper_params: dict[str, str]
    defaults: list[str]
    """The groups in the command's defaults list, as ``group`` or ``group@package``."""


@dataclass(frozen=True)
class Folders:
    """Where a command writes."""

    run: str = ""
    """The run folder; only without ``-m``."""
    sweep: str = ""
    """The folder of a sweep; only with ``-m``."""
    subdir: str = ""
    """The folder of a job inside it, before interpolation."""
    fixed: bool = True
    """Whether a repeated command gets the same folder: its name does not contain the time."""
    uses_workers: bool = False
    """Whether the jobs of a sweep run in worker processes."""


def read_folders(config: DictConfig, multirun: bool) -> Folders:
    """The folders of a command, from its composed config including Hydra's settings."""
    node = config.hydra.sweep if multirun else config.hydra.run
    plain = OmegaConf.to_container(node, resolve=False)
    assert isinstance(plain, dict)
    fixed = "${now:" not in str(plain["dir"])
    if multirun:
        uses_workers = "joblib" in str(OmegaConf.select(config, "hydra.launcher._target_"))
        return Folders(sweep=str(node.dir), subdir=str(plain["subdir"]), fixed=fixed, uses_workers=uses_workers)
    return Folders(run=str(node.dir), fixed=fixed)


def read_hydra_settings(
    command: str, overrides: Sequence[Override], searchpath: Sequence[str], choices: Sequence[str] = ()
) -> tuple[HydraSettings, list[str]]:
    """Compose Hydra's own settings, without the command's.

    Args:
        command: ``train``, ``eval`` or ``export``.
        overrides: The overrides of Hydra's settings.
        searchpath: The override of ``hydra.searchpath``, if there is one.
        choices: Chosen options whose files may set Hydra's settings, as an experiment does; ignored if one is wrong.

    Returns:
        The settings, and one problem for each invalid override.
    """
    if compose_problems(partial(compose, command, [*choices, *searchpath])):
        choices = ()
    searchpath = [*choices, *searchpath]
    base = compose(command, searchpath, return_hydra_config=True)
    problems: list[str] = []
    valid: list[str] = []
    # choices first: hydra.launcher.n_jobs exists only after hydra/launcher=joblib
    for override in sorted(overrides, key=lambda o: not o.key_or_group.startswith("hydra/")):
        line, key = override.input_line or "", override.key_or_group
        if key == "hydra.searchpath":
            continue
        line_problems = compose_problems(partial(compose, command, [*valid, line, *searchpath]))
        if override.is_sweep_override():
            line_problems = [f"{key}: Hydra's own settings cannot be swept over"]
        elif line_problems and "Could not override" in line_problems[0]:
            parent, _, name = key.rpartition(".")
            match = closest(name, [str(known) for known in OmegaConf.select(base, parent) or ()])
            line_problems = [f"{key}: unknown Hydra setting" + (f"; did you mean {parent}.{match}?" if match else "")]
        problems += line_problems
        valid += [] if line_problems else [line]
    config = compose(command, [*valid, *searchpath], return_hydra_config=True) if valid else base
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    return HydraSettings(
        overrides=valid,
        multirun=config.hydra.mode == RunMode.MULTIRUN,
        sweeper_params={str(key): str(value) for key, value in params.items()},
        defaults=[key for key in map(str, base.hydra.runtime.choices) if not key.startswith("hydra/")],
    ), problems


def compose_problems(attempt: Callable[[], object]) -> list[str]:
    """The problem that Hydra raises when it composes a config; empty if it raises none."""
    try:
        attempt()
    except COMPOSE_ERRORS as error:
        return [short_message(error)]
    return []
