"""Build dataclasses from untrusted plain data: the JSON of a bundle, the metadata of a checkpoint."""

import math
import reprlib
from collections.abc import Mapping, Set
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

_MAX_DEPTH = 32
_MAX_VALUES = 20_000_000  # a checkpoint of WikiText-103 holds 540,000
_CONTAINER_COST = 32  # visiting a small list takes as long as that many values of a large one
_MAX_CHARACTERS = 200_000_000
_MAX_INT = 2**63

# fields of format 1 (lstm_lm 0.1) that format 2 renames, by section
_RENAMED_FIELDS = {"model": {"output_cutoffs": "cutoffs"}, "data": {"name": "source"}}


def upgrade_format_1(record: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the fields of a format 1 record (a bundle's manifest, a checkpoint's metadata) to those of format 2."""
    upgraded = dict(record)
    for part, names in _RENAMED_FIELDS.items():
        if isinstance(part_fields := record.get(part), Mapping):
            upgraded[part] = {names.get(name, name): value for name, value in part_fields.items()}
    return upgraded


def dataclass_from_plain(cls: type[T], data: object, where: str) -> T:
    """Build a dataclass from a mapping. Checks every type and converts nothing except int to float.

    Args:
        cls: A dataclass whose fields are int, float, bool, str, lists of these, optional ones of these, or dictionaries
            of plain data, whose values are not checked.
        data: The mapping, by field name. Fields with a default may be missing.
        where: Name of the data in error messages.

    Raises:
        ValueError: If a field is missing, unknown or of the wrong type.
    """
    values = mapping(data, where)
    hints = get_type_hints(cls)
    names = {field.name for field in fields(cls)}  # type: ignore[arg-type]  # a dataclass, says the docstring
    if unknown := sorted(values.keys() - names):
        raise ValueError(f"{where}.{unknown[0]}: unknown field")
    for field in fields(cls):  # type: ignore[arg-type]
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}.{field.name}: missing field")
    return cls(**{name: checked(value, hints[name], f"{where}.{name}") for name, value in values.items()})


def checked(value: Any, kind: Any, where: str) -> Any:
    """Return ``value`` if it has the type ``kind``; an int is accepted and converted where a float is expected.

    Raises:
        ValueError: If it has another type.
    """
    if get_origin(kind) is list:
        if isinstance(value, list):
            (item,) = get_args(kind)
            return [checked(element, item, f"{where}[{index}]") for index, element in enumerate(value)]
    elif get_origin(kind) is dict:
        return mapping(value, where)
    elif isinstance(kind, UnionType):
        if value is None and NoneType in get_args(kind):
            return None
        (inner,) = (part for part in get_args(kind) if part is not NoneType)
        return checked(value, inner, where)
    elif kind is float and type(value) in (int, float):
        # an int can exceed the range of floats
        if abs(value) <= 1e308 and math.isfinite(value):
            return float(value)
    elif type(value) is kind:
        return value
    raise ValueError(f"{where}: must be {_type_name(kind)} (got {_shown(value)})")


def mapping(data: object, where: str) -> dict[str, Any]:
    """Return ``data`` if it is a mapping with string keys.

    Raises:
        ValueError: If it is not.
    """
    if isinstance(data, Mapping) and all(isinstance(key, str) for key in data):
        return dict(data)
    raise ValueError(f"{where}: must be a mapping with string keys (got {_shown(data)})")


def check_plain(data: object, where: str, strict: bool = True) -> None:
    """Refuse data that is too deep or too large to walk through, and what is not plain.

    A part that is used several times counts each time: a list that holds one other list twice, thirty levels deep, has
    a few hundred bytes in a pickle and takes minutes to print, to copy to JSON or to compare.

    Args:
        data: What should be numbers, strings, ``None``, and lists, tuples and dictionaries of them.
        where: Name of the data, for messages.
        strict: Refuse every other type, and numbers and strings that JSON cannot hold; otherwise other types pass, and
            only depth and size are checked.

    Raises:
        ValueError: If it is not such data.
    """
    _PlainCheck(where, strict).visit(data, 0)


class _PlainCheck:
    def __init__(self, where: str, strict: bool) -> None:
        self._where = where
        self._strict = strict
        self._lists = (list, tuple) if strict else (list, tuple, Set)
        self._values = _MAX_VALUES
        self._characters = _MAX_CHARACTERS

    def visit(self, data: object, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError(f"{self._where}: is nested more than {_MAX_DEPTH} levels deep")
        if isinstance(data, Mapping):
            self._visit_items(list(data), depth)
            self._visit_items(list(data.values()), depth)
        elif isinstance(data, self._lists):
            self._visit_items(list(data), depth)
        else:
            self._visit_items([data], depth - 1)

    def _visit_items(self, items: list[Any], depth: int) -> None:
        self._values -= len(items) + _CONTAINER_COST
        # by type, so that a vocabulary takes no loop
        types = set(map(type, items))
        if str in types:
            self._check_strings([item for item in items if type(item) is str])
        if int in types and self._strict:
            numbers = [item for item in items if type(item) is int]
            if not -_MAX_INT <= min(numbers) <= max(numbers) < _MAX_INT:
                raise ValueError(f"{self._where}: holds a number of more than 64 bits")
        if self._values < 0 or self._characters < 0:
            raise ValueError(f"{self._where}: holds more values than any checkpoint needs")
        for item in items if types - {str, int, float, bool, NoneType} else ():
            if isinstance(item, (Mapping, *self._lists)):
                self.visit(item, depth + 1)
            elif self._strict and type(item) not in (str, int, float, bool, NoneType):
                raise ValueError(f"{self._where}: holds a {type(item).__name__}, which is not plain data")

    def _check_strings(self, strings: list[str]) -> None:
        self._characters -= sum(map(len, strings))
        if not self._strict or self._characters < 0:
            return
        text = "".join(strings)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{self._where}: holds half a character (a lone surrogate)") from None
        if "\0" in text:
            raise ValueError(f"{self._where}: holds a NUL character")


def field_of(data: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """Return the field ``name`` of ``data``.

    Raises:
        ValueError: If it is missing or does not have the type ``kind``.
    """
    if name not in data:
        raise ValueError(f"{name}: missing field")
    value: T = mapping(data[name], name) if kind is dict else checked(data[name], kind, name)  # type: ignore[assignment]
    return value


def _type_name(kind: Any) -> str:
    return str(kind) if get_origin(kind) is list else str(kind.__name__)


_short = reprlib.Repr()  # bounded: the repr of nested lists that share parts can take minutes
_short.maxlevel = 2


def _shown(value: object) -> str:
    try:
        text = _short.repr(value)
    except ValueError:  # an int of more than 4,300 digits
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:40]}…"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; an empty mapping and a list are values."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
