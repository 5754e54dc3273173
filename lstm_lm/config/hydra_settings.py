"""Hydra's own settings (``hydra.*``, ``hydra/*``) on a command line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from hydra import compose
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import OmegaConf

from lstm_lm.config.overrides import COMPOSE_ERRORS, short_message
from lstm_lm.errors import closest


@dataclass(frozen=True)
class HydraSettings:
    """The parts of Hydra's own config that validation needs."""

    overrides: list[str]
    """The valid overrides of Hydra's own settings."""
    multirun: bool
    sweep_dir: str
    sweeper_params: dict[str, str]
    defaults: list[str]
    """The groups in the command's defaults list, as ``group`` or ``group@package``."""


def read_hydra_settings(
    command: str, overrides: Sequence[Override], searchpath: Sequence[str]
) -> tuple[HydraSettings, list[str]]:
    """Compose Hydra's own settings, without the command's.

    Args:
        command: ``train``, ``eval`` or ``export``.
        overrides: The overrides of Hydra's settings.
        searchpath: The override of ``hydra.searchpath``, if there is one.

    Returns:
        The settings, and one problem for each invalid override.
    """
    base = compose(command, list(searchpath), return_hydra_config=True)
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
        sweep_dir=str(OmegaConf.select(config, "hydra.sweep.dir")),
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
