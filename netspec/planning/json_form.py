"""Plans as plain data: JSON out, and back without loss."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

Data = TypeVar("Data")


def to_plain(value: Any) -> Any:
    """Dataclasses, mappings and tuples as dicts and lists; what JSON can hold stays as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, list | tuple) else value


def from_plain(kind: type[Data], value: Any) -> Data:
    """The dataclass of that kind that ``to_plain`` gave the value for."""
    return _restore(kind, value)  # type: ignore[no-any-return]


def _restore(kind: Any, value: Any) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _restore(hints[name], item) for name, item in value.items()})  # type: ignore[operator]
    if origin is tuple:
        return _restore_tuple(typing.get_args(kind), value)
    if origin in (types.UnionType, typing.Union):
        choices = [choice for choice in typing.get_args(kind) if choice is not type(None)]
        return None if value is None else _restore(choices[0], value) if len(choices) == 1 else value
    if isinstance(value, dict):
        item = typing.get_args(kind)[1] if typing.get_args(kind) else Any
        return {key: _restore(item, one) for key, one in value.items()}
    return value


def _restore_tuple(kinds: tuple[Any, ...], values: list[Any]) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_restore(kinds[0], value) for value in values)
    return tuple(_restore(kind, value) for kind, value in zip(kinds, values, strict=True))
