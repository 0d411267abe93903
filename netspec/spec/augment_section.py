"""``data.augment``: a map from augmentations to their attributes, or to ``off``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netspec.contract.augmentation import Augmentation
from netspec.data.augment import DEFAULT
from netspec.registry import augmentation_types
from netspec.spec.fields import Fields
from netspec.spec.nodes import Map, Node, Scalar, plain
from netspec.spec.wording import meant, show

ON: tuple[Any, ...] = (True, "on")
OFF: tuple[Any, ...] = (False, None, "off")
Attributes = Mapping[str, Any] | None
"""Of one augmentation; None: it is off."""


def read_augment(data: Map, mirror: bool, fields: Fields) -> tuple[dict[str, Attributes], bool]:
    """``DataSpec.augment`` and ``DataSpec.mirror``; ``mirror`` is the value of ``data.mirror``.

    What is off, or on by itself, is left out, so that each way to write it gives the same Spec.
    """
    node = data.get("augment")
    if node is None:
        return {}, mirror
    fields.marks["data.augment"] = data.entries["augment"].mark
    if _is_word(node, OFF):
        if mirror:
            fields.marks["data.mirror"] = fields.marks["data.augment"]
        return {DEFAULT: None}, False
    body = fields.as_map(node, "data.augment", "as in {colour: {sigma: 0.1}, crop: off}; off turns all of them off")
    if body is None:
        return {}, mirror
    found = _read(body, fields)
    if "mirror" in found:
        mirror = _mirror(data, found.pop("mirror") is not None, fields)
        fields.marks["data.mirror"] = fields.marks["data.augment.mirror"]
    _refuse_rivals(body, found, fields)
    return _without_usual(found), mirror


def _read(body: Map, fields: Fields) -> dict[str, Attributes]:
    types, found = augmentation_types(), {}
    for name, entry in body.entries.items():
        if name not in types:
            fields.note(entry.mark, f"unknown augmentation '{name}'", meant(name, types))
            continue
        fields.marks[f"data.augment.{name}"] = entry.mark
        found[name] = _attributes(entry.value, types[name], f"data.augment.{name}", fields)
    return found


def _attributes(node: Node, cls: type[Augmentation], path: str, fields: Fields) -> Attributes:
    if _is_word(node, OFF):
        return None
    body = Map({}, node.mark) if _is_word(node, ON) else node
    if not isinstance(body, Map):
        remedy = f"its attributes: {', '.join(cls.attrs)}" if cls.attrs else None
        fields.note(node.mark, f"'{path}' must be a map, on or off, got {show(plain(node))}", remedy)
        return {}
    fields.refuse_unknown(body, cls.attrs, path, hint=None if cls.attrs else "it has no attributes")
    return fields.read(body, cls.attrs, path)


def _mirror(data: Map, on: bool, fields: Fields) -> bool:
    """Whether it is on; a problem where ``data.mirror`` says the contrary of ``data.augment``."""
    written = data.entries.get("mirror")
    if on and written is not None and plain(written.value) is False:
        message = "'data.augment' has mirror, and 'data.mirror' is false"
        fields.note(fields.marks["data.augment.mirror"], message, "leave one of them out")
    return on


def _refuse_rivals(body: Map, found: Mapping[str, Attributes], fields: Fields) -> None:
    """A problem for the second of two that do the same job."""
    first: dict[str, str] = {}
    for name in [name for name, attrs in found.items() if attrs is not None]:
        group = augmentation_types()[name].group
        if group and first.setdefault(group, name) != name:
            message = f"'{first[group]}' and '{name}' cannot be used together"
            fields.note(body.entries[name].mark, message, f"turn one off, as in {first[group]}: off")


def _without_usual(found: Mapping[str, Attributes]) -> dict[str, Attributes]:
    types = augmentation_types()
    rivals = {name for name, attrs in found.items() if attrs is not None and types[name].group == types[DEFAULT].group}
    kept: dict[str, Attributes] = {
        name: attrs for name, attrs in found.items() if attrs is not None and name != DEFAULT
    }
    is_off = DEFAULT in found and found[DEFAULT] is None and not rivals
    return {DEFAULT: None, **kept} if is_off else kept


def _is_word(node: Node, words: tuple[Any, ...]) -> bool:
    """Whether a node is one of the words; 0 and 1 are none of them."""
    return isinstance(node, Scalar) and any(type(node.value) is type(word) and node.value == word for word in words)
