"""Search spaces in Hydra's sweep grammar."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lstm_lm.errors import ConfigError, did_you_mean

GROUP = "search"
"""The config group of search spaces; ``search=NAME`` is for ``lstm-lm tune``."""


@dataclass(frozen=True)
class SearchSpace:
    """What a search varies."""

    distributions: Mapping[str, BaseDistribution]
    """The values of each setting or group, by its key on the command line."""

    def suggest(self, trial: Trial) -> list[str]:
        """The overrides of a trial."""
        return [f"{key}={_suggest(trial, key, distribution)}" for key, distribution in self.distributions.items()]

    def examples(self) -> list[list[str]]:
        """Overrides with which every listed value and both ends of every range of numbers are tried once."""
        values: dict[str, list[Any]] = {}
        for key, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                values[key] = list(distribution.choices)
            else:
                assert isinstance(distribution, FloatDistribution | IntDistribution)
                values[key] = [distribution.low, distribution.high]
        longest = max(map(len, values.values()), default=0)
        return [[f"{key}={known[min(i, len(known) - 1)]}" for key, known in values.items()] for i in range(longest)]

    def grid(self) -> dict[str, Sequence[Any]]:
        """All values of every setting.

        Raises:
            ConfigError: If a setting has infinitely many values.
        """
        values: dict[str, Sequence[Any]] = {}
        for key, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                values[key] = distribution.choices
            elif isinstance(distribution, IntDistribution):
                values[key] = range(distribution.low, distribution.high + 1, distribution.step)
            else:
                raise ConfigError([f"{key}: a grid needs a list of values, as in {key}=1e-3,3e-3; or use sampler=tpe"])
        return values


def read_spaces(lines: Iterable[str], config_dir: str | None = None) -> list[str]:
    """Replace ``search=NAME`` by the settings of that option, and ``search=[NAME,NAME]`` by those of several.

    An option is a YAML file in the folder ``search`` of the shipped configs or of ``config_dir``, which comes first.
    It has one line per setting, as ``optimizer.lr: tag(log,interval(1e-4,1e-2))``. Later settings replace earlier ones.

    Raises:
        ConfigError: If there is no such option, or its file cannot be read.
    """
    folders = [*([Path(config_dir) / GROUP] if config_dir else []), files("lstm_lm.configs") / GROUP]
    replaced: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition("=")
        if key.lstrip("+") != GROUP:
            replaced[key] = line
            continue
        for name in value.strip("[]").split(","):
            replaced |= {key: f"{key}={choices}" for key, choices in _read_space(name.strip(), folders).items()}
    return list(replaced.values())


def _read_space(name: str, folders: Sequence[Traversable]) -> dict[str, Any]:
    known = {file.name: file for folder in reversed(folders) if folder.is_dir() for file in folder.iterdir()}
    file = known.get(f"{name}.yaml")
    if file is None:
        options = sorted(file.removesuffix(".yaml") for file in known if file.endswith(".yaml"))
        remedy = did_you_mean(name, options, then=f"options are {', '.join(options)}")
        raise ConfigError([f"{GROUP}: unknown option (got {name}); {remedy}"])
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"{file}: cannot be read ({error})"]) from error
    if not isinstance(content, dict) or any(isinstance(value, dict | list) for value in content.values()):
        raise ConfigError([f"{file}: needs one line per setting, as optimizer.lr: 1e-3,3e-3"])
    return {str(key): value for key, value in content.items()}


def parse_space(lines: Iterable[str]) -> tuple[SearchSpace, list[str]]:
    """Split overrides into the space and what stays fixed.

    ``a,b``, ``choice(…)`` and ``range(…)`` list values, ``interval(low,high)`` is a range of numbers,
    ``int(interval(low,high))`` of integers, and ``tag(log, …)`` makes either logarithmic.

    Args:
        lines: Overrides, as ``optimizer.lr=tag(log,interval(1e-4,1e-2))``.

    Returns:
        The space, and the overrides that are no sweep.

    Raises:
        ConfigError: With every override that cannot be searched over.
    """
    parser = OverridesParser.create()
    distributions: dict[str, BaseDistribution] = {}
    fixed, problems = [], []
    for line in lines:
        try:
            override = parser.parse_override(line)
        except HydraException as error:
            problems.append(f"{line}: cannot be read ({str(error).splitlines()[0].rpartition(': ')[2]})")
            continue
        if not override.is_sweep_override():
            fixed.append(line)
            continue
        try:
            distributions[override.get_key_element()] = _distribution(override)
        except ValueError as error:
            reason = str(error).replace("`", "").rstrip(".")
            problems.append(
                f"{override.key_or_group}: cannot be searched over {override.get_value_string()} ({reason})"
            )
    if problems:
        raise ConfigError(problems)
    return SearchSpace(distributions), fixed


def _distribution(override: Override) -> BaseDistribution:
    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        assert low is not None
        assert high is not None
        return FloatDistribution(float(low), float(high), log=log)
    if isinstance(value, RangeSweep) and all(isinstance(part, int) for part in (value.start, value.stop, value.step)):
        numbers = list(value.range())
        if not numbers:
            raise ValueError("the range has no values")
        if value.step > 0:
            return IntDistribution(int(numbers[0]), int(numbers[-1]), step=int(value.step))
    return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))


def _suggest(trial: Trial, key: str, distribution: BaseDistribution) -> str | float | int:
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)
    if isinstance(distribution, IntDistribution):
        step, log = distribution.step, distribution.log
        return trial.suggest_int(key, distribution.low, distribution.high, step=step, log=log)
    assert isinstance(distribution, CategoricalDistribution)
    value = trial.suggest_categorical(key, distribution.choices)
    assert isinstance(value, str)
    return value
