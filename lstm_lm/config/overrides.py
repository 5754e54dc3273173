"""The overrides of a command line: parsing, quoting and expanding them into the jobs of a sweep."""

import itertools
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, get_origin

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString
from hydra.errors import HydraException

from lstm_lm.settings import all_settings, without_none


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


def sweep_without_multirun(override: Override, schema: Any) -> str:
    """The problem of an override with several values when ``-m`` is missing."""
    key, value = override.key_or_group, override.get_value_string()
    kind = next((without_none(leaf.type) for leaf in all_settings(schema) if leaf.path == key), None)
    if get_origin(kind) is list:
        return f"{key}: several values (got {value}); write a list as {key}=[{value}]"
    quoted = f", or quote a single text: {shell_override(key, value)}" if kind is str else ""
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
        if override.is_sweep_override() and not override.is_discrete_sweep():
            problems.append(
                f"{key}: Hydra's basic sweeper takes no interval (got {override.get_value_string()}); "
                "list the values, as in 1e-3,3e-3, or use range(1,4), or choose another hydra/sweeper"
            )
        elif values := _values(override):
            choices[key] = values
        else:
            problems.append(f"{key}: the sweep has no values (got {override.get_value_string()})")
    return [list(job) for job in itertools.product(*choices.values())], problems


def sample_sweep(overrides: Sequence[Override]) -> list[list[str]]:
    """Jobs with each value that the plugin of a sweep can try, one value at a time; an interval counts as its start."""
    choices = {override.get_key_element(): values for override in overrides if (values := _values(override))}
    first = {key: values[0] for key, values in choices.items()}
    jobs = [first, *({**first, key: value} for key, values in choices.items() for value in values[1:])]
    return [list(job.values()) for job in jobs]


def line_of(override: Override) -> str:
    """An override as it was typed."""
    return override.input_line or ""


def _values(override: Override) -> list[str]:
    """The lines that a sweep over one override consists of; one line if it is not a sweep."""
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}"]
    if not override.is_sweep_override():
        return [line_of(override)]
    try:
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    except ValueError:  # a range with step 0
        return []


def sweep_lines(overrides: Sequence[Override]) -> list[str]:
    """The lines of a sweep, with each setting inside a swept group written as a sweep over one value.

    Before the jobs, Hydra composes the config without the swept options: a setting of a group that is null by default
    would have no place there.
    """
    swept = {override.key_or_group for override in overrides if override.is_sweep_override()}
    lines = []
    for override in overrides:
        line = line_of(override)
        inside = override.key_or_group.partition(".")[0] in swept and "." in override.key_or_group
        if inside and not (override.is_sweep_override() or override.is_delete()):
            line = f"{override.get_key_element()}=choice({override.get_value_element_as_str()})"
        lines.append(line)
    return lines
