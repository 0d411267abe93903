"""Laying one YAML value over another: maps merge key by key, everything else is replaced."""

from __future__ import annotations

from netspec.spec.nodes import Entry, Map, Node, Scalar


def overlay(base: Node | None, over: Node) -> Node:
    """One value laid over another; a map whose ``type`` changes is replaced whole."""
    if not isinstance(base, Map) or not isinstance(over, Map) or changes_type(base, over):
        return over
    merged = {
        key: Entry(entry.mark, overlay(base.get(key), entry.value), entry.given) for key, entry in over.entries.items()
    }
    return Map({**base.entries, **merged}, over.mark)


def changes_type(base: Map, over: Map) -> bool:
    """Whether both name a ``type``, and not the same one."""
    old, new = base.get("type"), over.get("type")
    return isinstance(old, Scalar) and isinstance(new, Scalar) and old.value != new.value
