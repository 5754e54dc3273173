"""The overrides of a command line: parsing, quoting and expanding them into the jobs of a sweep."""

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

from lstm_lm.config.paths import UnknownPathError, type_at, unwrap_optional

COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError)
"""What Hydra raises for a config that cannot be composed."""


def parse_overrides(lines: Iterable[str], loader: ConfigLoader) -> tuple[list[Override], list[str]]:
    """Parse overrides one by one.

    Returns:
        The parsed overrides, and one problem for each line that cannot be parsed.
    """
    parser = OverridesParser.create(config_loader=loader)
    parsed, problems = [], []
    for line in lines:
        try:
            (override,) = parser.parse_overrides([line])
        except HydraException:
            problems.append(_parse_problem(line))
            continue
        if override.key_or_group:
            parsed.append(override)
        else:
            problems.append(_parse_problem(line))
    return parsed, problems


def _parse_problem(line: str) -> str:
    key, equals, value = line.partition("=")
    if not equals:
        return f"{line}: is not a setting; write KEY=VALUE, as in model=small or optimizer.lr=1e-3"
    if not key.strip():
        return f"{line}: has no key; write KEY=VALUE"
    remedy = "check its quotes and brackets"
    if not value.startswith(("'", '"', "[", "{")):
        remedy = f"quote it for Hydra and for the shell: {shell_override(key, value)}"
    return f"{key}: the value cannot be read (got {value}); {remedy}"


def sweep_without_multirun(override: Override, schema: type) -> str:
    """The problem of an override with several values when ``-m`` is missing."""
    key, value = override.key_or_group, override.get_value_string()
    try:
        annotation = unwrap_optional(type_at(schema, key.split(".")))
    except UnknownPathError:
        annotation = None
    if get_origin(annotation) is list:
        return f"{key}: several values (got {value}); write a list as {key}=[{value}]"
    quoted = f", or quote a single text: {shell_override(key, value)}" if annotation is str else ""
    return f"{key}: several values (got {value}); add -m to run a job for each{quoted}"


def as_override(key: str, value: str) -> str:
    """``key=value``, quoted if Hydra would otherwise parse ``value`` as something else."""
    line = f"{key}={value}"
    try:
        parsed = OverridesParser.create().parse_override(line)
        plain = not parsed.is_sweep_override() and parsed.value() == value
    except HydraException:
        plain = False
    return line if plain else f"{key}={QuotedString(value, Quote.double).with_quotes()}"


def shell_override(key: str, value: str) -> str:
    """``key=value``, quoted for Hydra and for the shell."""
    return shlex.quote(as_override(key, value))


def expand_sweep(overrides: Sequence[Override]) -> tuple[list[list[str]], list[str]]:
    """The jobs of a sweep, in the order of Hydra's basic sweeper.

    Returns:
        The overrides of each job, and one problem for each override that cannot be expanded.
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
            except ValueError:  # a range with step 0
                values = []
            if values:
                choices[key] = values
            else:
                problems.append(f"{key}: the sweep has no values (got {override.get_value_string()})")
        else:
            problems.append(
                f"{key}: an interval cannot be swept over (got {override.get_value_string()}); "
                "list the values, as in 1e-3,3e-3, or use range(1,4)"
            )
    return [list(job) for job in itertools.product(*choices.values())], problems


def sweep_lines(overrides: Sequence[Override]) -> list[str]:
    """The lines of a sweep, with each setting inside a swept group written as a sweep over one value.

    Before the jobs, Hydra composes the config without the swept options: a setting of a group that is null by default
    would have no place there.
    """
    swept = {override.key_or_group for override in overrides if override.is_sweep_override()}
    lines = []
    for override in overrides:
        line = override.input_line or ""
        inside = override.key_or_group.partition(".")[0] in swept and "." in override.key_or_group
        if inside and not (override.is_sweep_override() or override.is_delete()):
            line = f"{override.get_key_element()}=choice({override.get_value_element_as_str()})"
        lines.append(line)
    return lines


def short_message(error: Exception) -> str:
    """Hydra's message on one line, without its search path and links."""
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
