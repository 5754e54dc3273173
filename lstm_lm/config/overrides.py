"""The overrides of a command line: reading them, and saying what is wrong with one that cannot be read."""

import itertools
import shlex
from collections.abc import Iterable, Sequence
from typing import get_origin

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lstm_lm.config.paths import UnknownPathError, type_at, without_none

# what Hydra raises for a config that cannot be composed
COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError)


def parse(lines: Iterable[str], loader: ConfigLoader) -> tuple[list[Override], list[str]]:
    """Read overrides one by one.

    Returns:
        Those that can be read, and a problem for each that cannot.
    """
    parser = OverridesParser.create(config_loader=loader)
    parsed, problems = [], []
    for line in lines:
        try:
            (override,) = parser.parse_overrides([line])
        except HydraException:
            problems.append(_unreadable(line))
            continue
        if override.key_or_group:
            parsed.append(override)
        else:
            problems.append(_unreadable(line))
    return parsed, problems


def _unreadable(line: str) -> str:
    key, equals, value = line.partition("=")
    if not equals:
        return f"{line}: is no setting; write KEY=VALUE, as in model=small or optimizer.lr=1e-3"
    if not key.strip():
        return f"{line}: has no key; write KEY=VALUE"
    remedy = "check its quotes and brackets"
    if not value.startswith(("'", '"', "[", "{")):
        remedy = f"quote it for Hydra and for the shell: {shell_override(key, value)}"
    return f"{key}: the value cannot be read (got {value}); {remedy}"


def unasked_sweep(override: Override, schema: type) -> str:
    """What to do about several values where one is wanted, without ``-m``."""
    key, value = override.key_or_group, override.get_value_string()
    try:
        kind = without_none(type_at(schema, key.split(".")))
    except UnknownPathError:
        kind = None
    if get_origin(kind) is list:
        return f"{key}: several values (got {value}); write a list as {key}=[{value}]"
    quoted = f", or quote a single text: {shell_override(key, value)}" if kind is str else ""
    return f"{key}: several values (got {value}); add -m to run a job for each{quoted}"


def as_override(key: str, value: str) -> str:
    """``key=value`` such that Hydra reads exactly the text ``value``."""
    line = f"{key}={value}"
    try:
        read = OverridesParser.create().parse_override(line)
        plain = not read.is_sweep_override() and read.value() == value
    except HydraException:
        plain = False
    return line if plain else f"{key}={QuotedString(value, Quote.double).with_quotes()}"


def shell_override(key: str, value: str) -> str:
    """``key=value`` as it has to be typed into a shell."""
    return shlex.quote(as_override(key, value))


def expand(overrides: Sequence[Override]) -> tuple[list[list[str]], list[str]]:
    """The jobs of a sweep, in the order in which Hydra's basic sweeper runs them.

    Returns:
        The overrides of each job, and a problem for each override that cannot be spread out.
    """
    choices: dict[str, list[str]] = {}
    problems = []
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            assert override.input_line is not None
            choices[key] = [override.input_line]
        elif override.is_discrete_sweep():
            try:
                values = [f"{key}={value}" for value in override.sweep_string_iterator()]
            except ValueError:  # a range in steps of 0
                values = []
            if values:
                choices[key] = values
            else:
                problems.append(f"{key}: the sweep has no values (got {override.get_value_string()})")
        else:
            problems.append(
                f"{key}: an interval cannot be run through (got {override.get_value_string()}); "
                "list the values, as in 1e-3,3e-3, or use range(1,4)"
            )
    return [list(job) for job in itertools.product(*choices.values())], problems


def one_line(error: Exception) -> str:
    """Hydra's message without its search path and addresses."""
    lines = []
    for line in str(error).splitlines():
        if line.startswith(("Config search path", "See http", "Set the environment")):
            break
        if line.strip():
            lines.append(line.strip())
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        lines.append(str(cause).splitlines()[0])
    return "; ".join(lines)
