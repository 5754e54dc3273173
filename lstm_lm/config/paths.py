"""Where a setting lies in a schema, what it may hold, and which right name a wrong one is closest to."""

import dataclasses
import types
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin, get_type_hints

from lstm_lm.config.renames import SETTINGS

_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_PLURALS = {int: "whole numbers", float: "numbers", bool: "true or false", str: "texts"}


class UnknownPathError(Exception):
    """A path leads nowhere.

    Args:
        known: The part of the path that exists.
        name: The first part that does not.
        choices: What would be right in its place.
    """

    def __init__(self, known: tuple[str, ...], name: str, choices: Sequence[str]) -> None:
        super().__init__(".".join((*known, name)))
        self.known = known
        self.name = name
        self.choices = tuple(choices)


def without_none(kind: Any) -> Any:
    """``X`` of ``X | None``; any other type as it is."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind


def may_be_none(kind: Any) -> bool:
    """Whether ``null`` is a value of the type."""
    return type(None) in get_args(kind)


def element(kind: Any) -> Any:
    """``X`` of ``dict[str, X]`` and ``list[X]``."""
    return get_args(kind)[-1]


def type_at(schema: Any, path: Sequence[str], names: Sequence[str] | None = None) -> Any:
    """The type of the setting at ``path``.

    Args:
        schema: A dataclass.
        path: The parts of a dotted path.
        names: The names that a dictionary holds; ``None`` lets any name pass.

    Raises:
        UnknownPathError: If there is no such setting.
    """
    kind = schema
    for depth, part in enumerate(path):
        inner = without_none(kind)
        choices: Sequence[str] = ()
        if dataclasses.is_dataclass(inner):
            hints = get_type_hints(inner)
            if part in hints:
                kind = hints[part]
                continue
            choices = tuple(hints)
        elif get_origin(inner) is dict:
            if names is None or part in names:
                kind = element(inner)
                continue
            choices = tuple(names)
        elif get_origin(inner) is list and part.isdigit():
            kind = element(inner)
            continue
        raise UnknownPathError(tuple(path[:depth]), part, choices)
    return kind


def every_path(schema: Any, prefix: str = "") -> Iterator[str]:
    """Every setting of a schema as a dotted path, nodes before what they hold."""
    for name, kind in get_type_hints(schema).items():
        yield prefix + name
        if dataclasses.is_dataclass(without_none(kind)):
            yield from every_path(without_none(kind), f"{prefix}{name}.")


def closest_path(schema: Any, path: Sequence[str], error: UnknownPathError, groups: Sequence[str]) -> str | None:
    """The existing path that a wrong one most probably means.

    Args:
        schema: A dataclass.
        path: The wrong path.
        error: Where it goes wrong.
        groups: Names that are right at the top besides the schema's own.
    """
    if renamed := SETTINGS.get(".".join(path)):
        return renamed
    beside = (*error.choices, *groups) if not error.known else error.choices
    for match in get_close_matches(error.name, beside, n=3, cutoff=0.6):
        rest = path[len(error.known) + 1 :]
        mended = (*error.known, match, *rest)
        if not rest or _exists(schema, mended):
            return ".".join(mended)
    everything = [*every_path(schema), *groups]
    last = path[-1]
    ends: dict[str, str] = {}
    for known in everything:
        ends.setdefault(known.rpartition(".")[2], known)
    if last in ends:
        return ends[last]
    near = get_close_matches(last, ends, n=1, cutoff=0.7)
    return ends[near[0]] if near else None


def _exists(schema: Any, path: Sequence[str]) -> bool:
    try:
        type_at(schema, path)
    except UnknownPathError:
        return False
    return True


def describe(kind: Any) -> str:
    """What a setting of this type may hold, in words."""
    inner = without_none(kind)
    if get_origin(inner) is list:
        text = f"a list of {_PLURALS.get(element(inner), 'values')}, as in [1,2]"
    elif dataclasses.is_dataclass(inner) or get_origin(inner) is dict:
        text = "a group of settings"
    else:
        text = _NAMES.get(inner, "a value")
    return f"{text} or null" if may_be_none(kind) else text
