"""Does a value fit its schema? The few keywords that attributes use are checked here; others by ``jsonschema``.

Importing jsonschema costs 80 ms, a whole ``netspec validate`` may cost 600: so it is loaded only for what a plugin's
schema needs beyond these keywords.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

Schema = Mapping[str, Any]

FLOAT32_MAX = 3.4028234663852886e38
"""The largest number of the type that networks compute in."""


def _is_whole(value: Any) -> bool:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 2**63)
    return whole and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= FLOAT32_MAX


_TYPES: dict[str, Callable[[Any], bool]] = {
    "integer": _is_whole,
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list | tuple),
    "object": lambda value: isinstance(value, Mapping),
    "null": lambda value: value is None,
}


def _fits_type(wanted: str | list[str], value: Any) -> bool:
    return any(_TYPES[kind](value) for kind in ([wanted] if isinstance(wanted, str) else wanted))


def _fits_enum(wanted: list[Any], value: Any) -> bool:
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in wanted)


_KEYWORDS: dict[str, Callable[[Any, Any], bool]] = {
    "type": _fits_type,
    "enum": _fits_enum,
    "minimum": lambda bound, value: not _is_number(value) or value >= bound,
    "maximum": lambda bound, value: not _is_number(value) or value <= bound,
    "exclusiveMinimum": lambda bound, value: not _is_number(value) or value > bound,
    "exclusiveMaximum": lambda bound, value: not _is_number(value) or value < bound,
    "items": lambda schema, value: not isinstance(value, list | tuple) or all(fits(schema, item) for item in value),
    "minLength": lambda bound, value: not isinstance(value, str) or len(value) >= bound,
    "minItems": lambda bound, value: not isinstance(value, list | tuple) or len(value) >= bound,
    "maxItems": lambda bound, value: not isinstance(value, list | tuple) or len(value) <= bound,
    "anyOf": lambda schemas, value: any(fits(schema, value) for schema in schemas),
}
_SILENT = frozenset({"default", "description", "title", "examples", "x-netspec"})


def fits(schema: Schema, value: Any) -> bool:
    """Whether the value is valid under the JSON Schema fragment; numbers must also fit float32."""
    if not all(key in _KEYWORDS or key in _SILENT for key in schema):
        return _fits_by_library(schema, value)
    return all(_KEYWORDS[key](wanted, value) for key, wanted in schema.items() if key in _KEYWORDS)


def _fits_by_library(schema: Schema, value: Any) -> bool:
    from jsonschema import Draft202012Validator

    return bool(Draft202012Validator(schema).is_valid(value))


def settle(schema: Schema, value: Any) -> Any:
    """The value in its final type: ``64.0`` as 64 where whole numbers are asked for, ``1`` as 1.0 for real ones.

    Lists become tuples, since a Spec is immutable.
    """
    if isinstance(value, (str, NoneType)):  # most are
        return value
    if "anyOf" in schema:
        return settle(next((option for option in schema["anyOf"] if fits(option, value)), {}), value)
    if isinstance(value, (list, tuple)):
        return tuple(settle(schema.get("items", {}), item) for item in value)
    if not isinstance(value, (int, float)) and isinstance(value, Mapping):
        fields, others = schema.get("properties", {}), schema.get("additionalProperties")
        other = others if isinstance(others, Mapping) else {}
        return {key: settle(fields.get(key, other), item) for key, item in value.items()}
    if schema.get("type") == "integer" and isinstance(value, float):
        return int(value)
    if schema.get("type") == "number" and isinstance(value, int):
        return float(value)
    return value
