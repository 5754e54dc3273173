"""Config fields that declare their bounds and their help text once; checks, ``--help`` and docs/configs.md follow.

::

    @dataclass
    class ExampleConfig(Settings):
        lr: float = setting(1e-3, gt=0, help="Learning rate; the peak if the schedule has one.")
        momentum: float = setting(0.0, ge=0, lt=1, special={0: "off"}, help="Momentum of SGD.")

        def conflicts(self) -> list[str]:  # only checks across fields are code
            ...
"""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from functools import partial
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from lstm_lm.errors import did_you_mean

T = TypeVar("T")

REQUIRED: Any = "???"
"""Default of a setting that has none; OmegaConf reports it as missing."""

CACHE, CELLS, GUARD = "LSTM_LM_CACHE", "LSTM_LM_CELLS", "LSTM_LM_ENVIRONMENT"
"""Environment variables of every command: the folder of encoded corpora, unless ``data.cache_dir`` is set; modules,
separated by commas, whose cells are imported when an artifact names them; and what ``cli.environment`` sets once the
process has its settings, or a user does to keep the environment unchanged."""

_KEY = "setting"
_TYPES = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
_PLURALS = {int: "integers", float: "numbers", bool: "true or false", str: "strings"}


@dataclass(frozen=True)
class Declaration:
    """What a field says about its values; the bounds of a list apply to each element."""

    help: str
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    choices: tuple[str, ...] = ()
    special: Mapping[Any, str] = field(default_factory=dict)
    remedy: str = ""

    def bounds(self) -> str:
        """The bounds in words, as in "must be ..."; empty if there are none."""
        low, high = self.gt if self.ge is None else self.ge, self.lt if self.le is None else self.le
        if low is not None and high is not None:
            if self.ge is not None:
                return f"from {low} to {high}" if self.lt is None else f"in [{low}, {high})"
            return f"above {low} and {'below' if self.le is None else 'at most'} {high}"
        if low is not None:
            return f"{'above' if self.ge is None else 'at least'} {low}"
        return "" if high is None else f"{'below' if self.le is None else 'at most'} {high}"

    def special_values(self) -> str:
        """The special values and their meanings, as in "0 is off"."""
        return ", ".join(f"{show(value)} is {meaning}" for value, meaning in self.special.items())

    def problem(self, value: Any, default: Any) -> str | None:
        """What is wrong with a value, with the remedy; ``None`` if it is valid."""
        if isinstance(value, list):
            wrong = any(self.problem(element, None) for element in value)
            return f"each must be {self.bounds()} (got {value}){self._remedy(default)}" if wrong else None
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value in self.special:
            return None
        if self.choices:
            return (
                None if value in self.choices else f"unknown (got {value!r}); {did_you_mean(str(value), self.choices)}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            return f"must be a finite number (got {value}){self._remedy(default)}"
        if isinstance(value, str) or self._within(value):
            return None
        expected = "must not be negative" if self.bounds() == "at least 0" else f"must be {self.bounds()}"
        return f"{expected} (got {value}){self._remedy(default)}"

    def _within(self, value: float) -> bool:
        return (
            (self.gt is None or value > self.gt)
            and (self.ge is None or value >= self.ge)
            and (self.lt is None or value < self.lt)
            and (self.le is None or value <= self.le)
        )

    def _remedy(self, default: Any) -> str:
        remedy = self.remedy or self.special_values() or (f"try {show(default)}" if default is not None else "")
        return f"; {remedy}" if remedy else ""


def setting(
    default: T,
    *,
    help: str,  # noqa: A002
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    choices: tuple[str, ...] = (),
    special: Mapping[Any, str] | None = None,
    remedy: str = "",
) -> T:
    """Declare a dataclass field.

    Args:
        default: The default; a list or dictionary is copied for each instance.
        help: One or two sentences in plain text, for ``--help`` and docs/configs.md. Bounds, choices and special values
            are added to it.
        gt: Every value is greater than this. ``ge``, ``lt`` and ``le`` likewise; numbers are always finite.
        ge: See ``gt``.
        lt: See ``gt``.
        le: See ``gt``.
        choices: All valid texts.
        special: Values that are valid whatever the bounds, with their meaning, as in ``{0: "no limit"}``.
        remedy: What to do about an invalid value; by default the special values or else the default are suggested.
    """
    declaration = Declaration(help, gt, ge, lt, le, choices, special or {}, remedy)
    metadata = {_KEY: declaration}
    if isinstance(default, list | dict):
        return field(default_factory=partial(copy.copy, default), metadata=metadata)
    return field(default=default, metadata=metadata)


class Settings:
    """Base of a config dataclass."""

    def problems(self) -> list[str]:
        """Every invalid setting, nested ones included, as ``path: what is wrong (got VALUE); remedy``."""
        problems = list(_problems(self))
        known = {problem.partition(":")[0] for problem in problems}
        return problems + [problem for problem in self.conflicts() if problem.partition(":")[0] not in known]

    def conflicts(self) -> list[str]:
        """Settings that are valid, but not together."""
        return []


def declaration(node: "Field[Any]") -> Declaration | None:
    """The declaration of a dataclass field; ``None`` if it has none."""
    return node.metadata.get(_KEY)


def default_of(node: "Field[Any]") -> Any:
    """The default of a dataclass field."""
    return node.default_factory() if callable(node.default_factory) else node.default


def show(value: Any) -> str:
    """A value as it is written on a command line."""
    if isinstance(value, list):
        return f"[{','.join(map(show, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{show(part)}' for key, part in value.items())}}}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _problems(config: Any) -> Iterator[str]:
    for node in fields(config):
        value = getattr(config, node.name)
        nested = {f"{node.name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {}
        for path, part in {node.name: value, **nested}.items():
            if isinstance(part, Settings):
                yield from (f"{path}.{problem}" for problem in part.problems())
        if problem := (declaration(node) or Declaration("")).problem(value, default_of(node)):
            yield f"{node.name}: {problem}"


@dataclass(frozen=True)
class Leaf:
    """A setting of a schema: its dotted path, its type and its field. ``NAME`` is any key of a dictionary."""

    path: str
    type: Any
    field: "Field[Any]"

    @property
    def is_group(self) -> bool:
        """Whether it contains other settings."""
        return is_dataclass(without_none(self.type))

    @property
    def help(self) -> str:
        """The help text of a setting, or the first line of a group's docstring; empty if it has none."""
        if declared := declaration(self.field):
            return declared.help
        return (without_none(self.type).__doc__ or "").partition("\n")[0] if self.is_group else ""

    @property
    def default(self) -> Any:
        """The value of the field where no config sets it."""
        return default_of(self.field)

    @property
    def values(self) -> str:
        """The valid values in words, as in "a number, above 0; 0 is off"."""
        declared = declaration(self.field) or Declaration("")
        if declared.choices:
            return f"one of {', '.join(declared.choices)}"
        bounds = declared.bounds()
        if bounds and get_origin(without_none(self.type)) is list:
            bounds = f"each {bounds}"
        text = f"{describe_type(self.type)}, {bounds}" if bounds else describe_type(self.type)
        return f"{text}; {declared.special_values()}" if declared.special else text


def all_settings(schema: Any, prefix: str = "") -> Iterator[Leaf]:
    """Every setting of a dataclass and of the dataclasses inside it; a group comes before its settings."""
    types = get_type_hints(schema)
    for node in fields(schema):
        kind = without_none(types[node.name])
        yield Leaf(prefix + node.name, types[node.name], node)
        if get_origin(kind) is dict and is_dataclass(get_args(kind)[1]):
            yield from all_settings(get_args(kind)[1], f"{prefix}{node.name}.NAME.")
        elif is_dataclass(kind):
            yield from all_settings(kind, f"{prefix}{node.name}.")


def without_none(kind: Any) -> Any:
    """``X`` of ``X | None``; any other type unchanged."""
    parts = [part for part in get_args(kind) if part is not NoneType]
    return parts[0] if isinstance(kind, UnionType) and len(parts) == 1 else kind


def describe_type(kind: Any) -> str:
    """The values of a type, in words."""
    inner = without_none(kind)
    text = _TYPES.get(inner, "a value")
    if get_origin(inner) is dict:
        text = "values by name"
    if get_origin(inner) is list:
        text = f"a list of {_PLURALS.get(get_args(inner)[0], 'values')}"
    return text if inner is kind else f"{text} or null"
