"""Attribute declarations: short names for the JSON Schema fragments that a layer's ``attrs`` is made of.

An attribute without a ``default`` must be written in the spec. ``description`` goes into the layer's docs page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from netspec.contract.values import settle

Attr = Mapping[str, Any]


def _schema(kind: Mapping[str, Any], default: Any, description: str) -> dict[str, Any]:
    schema = dict(kind)
    if default is not ...:
        schema["default"] = default
    if description:
        schema["description"] = description
    return schema


def _bounds(minimum: float | None, maximum: float | None, above: float | None, below: float | None) -> dict[str, Any]:
    keys = {"minimum": minimum, "maximum": maximum, "exclusiveMinimum": above, "exclusiveMaximum": below}
    return {key: value for key, value in keys.items() if value is not None}


def integer(
    description: str = "", *, default: Any = ..., minimum: int | None = None, maximum: int | None = None
) -> dict[str, Any]:
    """A whole number."""
    return _schema({"type": "integer", **_bounds(minimum, maximum, None, None)}, default, description)


def integers(description: str = "", *, default: Any = ..., minimum: int = 0) -> dict[str, Any]:
    """A list of at least one whole number."""
    items = {"type": "integer", "minimum": minimum}
    return _schema({"type": "array", "items": items, "minItems": 1}, default, description)


def channels(description: str = "") -> dict[str, Any]:
    """A number of output channels, or the word ``classes``: as many as the data has."""
    return _schema({"type": "integer", "minimum": 1, "x-netspec": "channels"}, ..., description)


def number(
    description: str = "",
    *,
    default: Any = ...,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> dict[str, Any]:
    """A real number, with inclusive (minimum, maximum) or exclusive (above, below) bounds."""
    return _schema({"type": "number", **_bounds(minimum, maximum, above, below)}, default, description)


def boolean(description: str = "", *, default: Any = ...) -> dict[str, Any]:
    """True or false."""
    return _schema({"type": "boolean"}, default, description)


def text(description: str = "", *, default: Any = ...) -> dict[str, Any]:
    """A string."""
    return _schema({"type": "string"}, default, description)


def path(description: str = "", *, default: Any = ...) -> dict[str, Any]:
    """A file or folder; a relative one is looked up beside the spec that names it."""
    return _schema({"type": "string", "minLength": 1, "x-netspec": "path"}, default, description)


def choice(*values: str, description: str = "", default: Any = ...) -> dict[str, Any]:
    """One of a few words."""
    return _schema({"type": "string", "enum": list(values)}, default, description)


def pair(description: str = "", *, default: Any = ..., minimum: int = 0, words: Sequence[str] = ()) -> dict[str, Any]:
    """A whole number for both axes, or ``[height, width]``, or one of the words."""
    one = {"type": "integer", "minimum": minimum}
    both = {"type": "array", "items": one, "minItems": 2, "maxItems": 2}
    named = [{"type": "string", "enum": list(words)}] if words else []
    return _schema({"anyOf": [one, both, *named]}, default, description)


def padding(description: str = "", *, default: Any = 0) -> dict[str, Any]:
    """A whole number for all sides, ``[height, width]`` or ``[top, bottom, left, right]``."""
    one = {"type": "integer", "minimum": 0}
    lists = [{"type": "array", "items": one, "minItems": n, "maxItems": n} for n in (2, 4)]
    return _schema({"anyOf": [one, *lists]}, default, description)


def texts(description: str = "", *, default: Any = ...) -> dict[str, Any]:
    """A list of strings."""
    return _schema({"type": "array", "items": {"type": "string"}}, default, description)


def mapping(values: Attr, description: str = "", *, default: Any = ...) -> dict[str, Any]:
    """A map from names of any kind to values of one schema."""
    return _schema({"type": "object", "additionalProperties": dict(values)}, default, description)


def records(fields: Mapping[str, Attr], description: str = "", *, required: Sequence[str] = ()) -> dict[str, Any]:
    """A list of at least one map, each of some of these fields; what a map leaves out, it does not have."""
    item = {
        "type": "object",
        "properties": dict(fields),
        "required": list(required),
        "additionalProperties": False,
    }
    return _schema({"type": "array", "items": item, "minItems": 1}, ..., description)


def initialiser(description: str = "", *, default: Any = ...) -> dict[str, Any]:
    """A distribution to draw a parameter from, such as ``{type: gaussian, std: 0.01}``; see netspec.init."""
    return _schema({"type": "object", "x-netspec": "initialiser"}, default, description)


LAYER_KEYS: Mapping[str, str] = {
    "name": "Name of the layer: letters, digits, _ and -; parameters are called name.param.",
    "type": "Type of the layer; its attributes stand beside these keys.",
    "device": "The device, or a list of devices that the layer is split over; inherited from the first input.",
    "split": "What a list of devices divides: the channels, the rows of the batch, or nothing. Unless written, the "
    "rows where the layer reads rows on its own devices, else the channels.",
    "inputs": "What the layer reads: a name, name.output, {from, connect} or a list; omitted: the layer above.",
    "share": "Another layer whose parameters this one uses.",
    "rate": "Factor on the learning rate of the layer's parameters.",
    "decay": "Factor on the weight decay of the layer's parameters.",
    "params": "Factors for single parameters: {bias: {rate: 2.0, decay: 0.0}}.",
    "within": "Frames that pictures draw round the layer, the outermost first; layers of a block have one of its use.",
    "after": "With extends: the layer behind which this one is placed.",
    "remove": "With extends: true takes the layer out.",
}
"""Keys that every layer of a spec may have, and what they say; no attribute can have one of these names."""


def check_attrs(owner: str, attrs: Any, reserved: Mapping[str, str] = LAYER_KEYS) -> None:
    """Raise TypeError where ``attrs`` is not a dict of what the functions above give, or hides a reserved key."""
    if not isinstance(attrs, Mapping) or not all(isinstance(schema, Mapping) for schema in attrs.values()):
        raise TypeError(f"{owner}.attrs must be a dict of names and integer(...), number(...) and so on, got {attrs!r}")
    if clash := [key for key in attrs if key in reserved]:
        raise TypeError(f"{owner} declares the attribute '{clash[0]}', a key that every layer has; rename it")


def filled(attrs: Mapping[str, Attr], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values given, and the defaults of all other attributes that have one, in their final types."""
    known = [name for name, schema in attrs.items() if name in given or "default" in schema]
    return {
        name: settle(attrs.get(name, {}), given[name]) if name in given else default_of(attrs[name])
        for name in dict.fromkeys((*known, *given))
    }


def default_of(schema: Attr) -> Any:
    """The default of an attribute that has one."""
    default = schema["default"]
    return settle(schema, deepcopy(default) if isinstance(default, dict | list) else default)
