"""Dotted paths in a schema: the type at a path, and the closest valid path to an unknown one."""

import dataclasses
import types
from collections.abc import Iterator, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from lstm_lm.config.renames import RENAMED_SETTINGS
from lstm_lm.errors import closest

OPEN = ("optimizer", "schedule", "trainer", "callbacks", "logger")
"""Open nodes of ``TrainConfig``: their keys are checked against the signature of what takes them."""
_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
_PLURALS = {int: "integers", float: "numbers", bool: "true or false", str: "strings"}


class UnknownPathError(Exception):
    """A path does not exist in the schema.

    Args:
        parent: The part of the path that exists.
        name: The first part that does not.
        choices: Valid names in its place.
    """

    def __init__(self, parent: tuple[str, ...], name: str, choices: Sequence[str]) -> None:
        super().__init__(".".join((*parent, name)))
        self.parent = parent
        self.name = name
        self.choices = tuple(choices)


def unwrap_optional(annotation: Any) -> Any:
    """``X`` of ``X | None``; any other type unchanged."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def is_optional(annotation: Any) -> bool:
    """Whether the type allows ``null``."""
    return type(None) in get_args(annotation)


def element_type(annotation: Any) -> Any:
    """``X`` of ``dict[str, X]`` and ``list[X]``."""
    return get_args(annotation)[-1]


def type_at(schema: Any, path: Sequence[str], names: Sequence[str] | None = None) -> Any:
    """The type of the setting at ``path``.

    Args:
        schema: A dataclass.
        path: The parts of a dotted path.
        names: The keys of a dictionary on the path; ``None`` accepts any key.

    Raises:
        UnknownPathError: If the setting does not exist.
    """
    annotation = schema
    for depth, part in enumerate(path):
        inner = unwrap_optional(annotation)
        choices: Sequence[str] = ()
        if dataclasses.is_dataclass(inner):
            hints = get_type_hints(inner)
            if part in hints:
                annotation = hints[part]
                continue
            choices = tuple(hints)
        elif get_origin(inner) is dict:
            if names is None or part in names:
                annotation = element_type(inner)
                continue
            choices = tuple(names)
        elif get_origin(inner) is list and part.isdigit():
            annotation = element_type(inner)
            continue
        if depth and path[0] in OPEN:
            return Any
        raise UnknownPathError(tuple(path[:depth]), part, choices)
    return annotation


def all_paths(schema: Any, prefix: str = "") -> Iterator[str]:
    """Every setting of a schema as a dotted path, parents first."""
    for name, annotation in get_type_hints(schema).items():
        yield prefix + name
        if dataclasses.is_dataclass(unwrap_optional(annotation)):
            yield from all_paths(unwrap_optional(annotation), f"{prefix}{name}.")


def closest_path(schema: Any, path: Sequence[str], error: UnknownPathError, groups: Sequence[str]) -> str | None:
    """The valid path that is closest to an unknown one.

    Tries the renames of version 0.1, then the siblings of the unknown part, then the last part anywhere in the schema.

    Args:
        schema: A dataclass.
        path: The unknown path.
        error: The error of :func:`type_at` for it.
        groups: Names that are valid at the top level besides the schema's own.
    """
    if renamed := RENAMED_SETTINGS.get(".".join(path)):
        return renamed
    rest = path[len(error.parent) + 1 :]
    siblings = error.choices if error.parent else (*error.choices, *groups)
    candidates = [name for name in siblings if not rest or _exists(schema, (*error.parent, name, *rest))]
    if sibling := closest(error.name, candidates):
        return ".".join((*error.parent, sibling, *rest))
    by_last_part: dict[str, str] = {}
    for known in (*all_paths(schema), *groups):
        by_last_part.setdefault(known.rpartition(".")[2], known)
    last_part = closest(path[-1], by_last_part, cutoff=0.7)
    return by_last_part[last_part] if last_part else None


def _exists(schema: Any, path: Sequence[str]) -> bool:
    try:
        type_at(schema, path)
    except UnknownPathError:
        return False
    return True


def describe_type(annotation: Any) -> str:
    """The values that a type allows, in words."""
    inner = unwrap_optional(annotation)
    if get_origin(inner) is list:
        text = f"a list of {_PLURALS.get(element_type(inner), 'values')}, as in [1,2]"
    elif dataclasses.is_dataclass(inner) or get_origin(inner) is dict:
        text = "a group of settings"
    else:
        text = _NAMES.get(inner, "a value")
    return f"{text} or null" if is_optional(annotation) else text
