"""Dataclasses out of plain data that someone else may have written: JSON of a bundle, the record of a checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

# fields of format 1 (lstm_lm 0.1) that have another name since format 2, by the part of the record that holds them
_RENAMED_FIELDS = {"model": {"output_cutoffs": "cutoffs"}, "data": {"name": "source"}}


def upgrade_format_1(record: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the fields of a format 1 record (a bundle's manifest, a checkpoint's metadata) to those of format 2."""
    upgraded = dict(record)
    for part, names in _RENAMED_FIELDS.items():
        if isinstance(part_fields := record.get(part), Mapping):
            upgraded[part] = {names.get(name, name): value for name, value in part_fields.items()}
    return upgraded


def dataclass_from_plain(cls: type[T], data: object, where: str) -> T:
    """Build a dataclass from a mapping, with every field's type checked and nothing converted but int to float.

    Args:
        cls: A dataclass whose fields are int, float, bool, str, lists of these, or one of them or ``None``.
        data: What should be a mapping from its fields' names. A field that has a default may be missing.
        where: Name of the data, for messages.

    Raises:
        ValueError: If a field is missing, unknown or of another type.
    """
    given = mapping(data, where)
    hints = get_type_hints(cls)
    names = {field.name for field in fields(cls)}  # type: ignore[arg-type]  # a dataclass, says the docstring
    if unknown := sorted(given.keys() - names):
        raise ValueError(f"{where}.{unknown[0]}: unknown field")
    for field in fields(cls):  # type: ignore[arg-type]
        if field.name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}.{field.name}: missing field")
    return cls(**{name: checked(value, hints[name], f"{where}.{name}") for name, value in given.items()})


def checked(value: Any, kind: Any, where: str) -> Any:
    """``value`` if it has the type ``kind``; an int passes for a float and becomes one.

    Raises:
        ValueError: If it has another type.
    """
    if get_origin(kind) is list:
        if isinstance(value, list):
            (item,) = get_args(kind)
            return [checked(one, item, f"{where}[{index}]") for index, one in enumerate(value)]
    elif isinstance(kind, UnionType):
        if value is None and NoneType in get_args(kind):
            return None
        (kind_,) = (one for one in get_args(kind) if one is not NoneType)
        return checked(value, kind_, where)
    elif kind is float and type(value) in (int, float):
        # an int beyond the range of floats is as wrong as infinity
        if abs(value) <= 1e308 and math.isfinite(value):
            return float(value)
    elif type(value) is kind:
        return value
    raise ValueError(f"{where}: must be {_name(kind)} (got {_shown(value)})")


def mapping(data: object, where: str) -> dict[str, Any]:
    """``data`` if it is a mapping with string keys.

    Raises:
        ValueError: If it is not.
    """
    if isinstance(data, Mapping) and all(isinstance(key, str) for key in data):
        return dict(data)
    raise ValueError(f"{where}: must be a mapping with names as keys (got {_shown(data)})")


def field_of(data: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """The field ``name`` of ``data``, which must be there and have the type ``kind``.

    Raises:
        ValueError: If it is missing or has another type.
    """
    if name not in data:
        raise ValueError(f"{name}: missing field")
    value: T = mapping(data[name], name) if kind is dict else checked(data[name], kind, name)  # type: ignore[assignment]
    return value


def _name(kind: Any) -> str:
    return str(kind) if get_origin(kind) is list else str(kind.__name__)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
