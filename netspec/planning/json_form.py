"""Plans as plain data: JSON out, and back without loss.

What has an identity is defined once, as ``{"name": ..., "key": {...}}``, and named everywhere else.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from netspec.contract.naming import Argument
from netspec.planning.identities import BufferKey, StepKey, TensorKey

Data = TypeVar("Data")
Names = dict[tuple[type, str], Any]
IDENTITIES = (Argument, TensorKey, BufferKey, StepKey)
NOT_PLAIN = types.MappingProxyType({"plain": False})
"""Metadata of a field that is left out; its class has a class method ``restored`` that makes it again."""


def to_plain(value: Any) -> Any:
    """Dataclasses, mappings and tuples as dicts and lists; what JSON can hold stays as it is.

    An identity is its name, but in a field ``key``, and where it is an argument of a step, it stands with its parts.
    """
    if isinstance(value, IDENTITIES):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {field.name: to_plain(getattr(value, field.name)) for field in _fields(value)}
        return {"name": plain.pop("key"), "key": _parts(value.key), **plain} if "key" in plain else plain  # type: ignore[attr-defined]
    if isinstance(value, Mapping):
        return _named([(key, _defined(key, to_plain(item))) for key, item in value.items()])
    return [to_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _fields(value: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(value) if field.metadata.get("plain", True)]


def _parts(key: Any) -> dict[str, Any]:
    """The fields of an identity that are not their defaults; a tensor within is taken apart, a buffer is named."""
    parts = {field.name: (getattr(key, field.name), field.default) for field in dataclasses.fields(key)}
    return {
        name: _parts(value) if isinstance(value, TensorKey) else to_plain(value)
        for name, (value, default) in parts.items()
        if value != default
    }


def _defined(key: Any, item: Any) -> Any:
    return {"argument": _parts(key), **item} if isinstance(key, Argument) else item


def _named(items: list[tuple[Any, Any]]) -> dict[Any, Any]:
    named = {str(key) if isinstance(key, IDENTITIES) else key: item for key, item in items}
    if len(named) < len(items):
        raise ValueError("two identities have one name")
    return named


def from_plain(kind: type[Data], value: Any) -> Data:
    """The dataclass of that kind that ``to_plain`` gave the value for."""
    return _restore(kind, value, {})  # type: ignore[no-any-return]


def _restore(kind: Any, value: Any, names: Names) -> Any:
    origin = typing.get_origin(kind)
    if kind in IDENTITIES:
        return names[kind, value] if isinstance(value, str) else _made(kind, value, names)
    if dataclasses.is_dataclass(kind):
        return _restore_data(kind, value, names)
    if origin is tuple:
        return _restore_tuple(typing.get_args(kind), value, names)
    if origin in (types.UnionType, typing.Union):
        choices = [choice for choice in typing.get_args(kind) if choice is not type(None)]
        return None if value is None else _restore(choices[0], value, names) if len(choices) == 1 else value
    if isinstance(value, dict):
        key, item = typing.get_args(kind) or (Any, Any)
        return dict(_restore_item(key, item, name, one, names) for name, one in value.items())
    return value


def _made(kind: Any, parts: dict[str, Any], names: Names) -> Any:
    """An identity that is defined here; its name stands for it from now on."""
    hints = _hints(kind)
    made = kind(**{name: _restore(hints[name], part, names) for name, part in parts.items()})
    names[kind, str(made)] = made
    return made


def _restore_data(kind: Any, value: dict[str, Any], names: Names) -> Any:
    hints = _hints(kind)
    values = {name: _restore(hints[name], item, names) for name, item in value.items() if name in hints}
    return kind.restored(**values) if hasattr(kind, "restored") else kind(**values)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _restore_item(key: Any, item: Any, name: str, value: Any, names: Names) -> tuple[Any, Any]:
    if key is Argument:
        value = dict(value)
        return _made(key, value.pop("argument"), names), _restore(item, value, names)
    restored = _restore(item, value, names)
    return names[key, name] if key in IDENTITIES else name, restored


def _restore_tuple(kinds: tuple[Any, ...], values: list[Any], names: Names) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_restore(kinds[0], value, names) for value in values)
    return tuple(_restore(kind, value, names) for kind, value in zip(kinds, values, strict=True))
