"""Data sources by name: each public file of netspec.data.sources holds one; importing them needs no numpy or PIL."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from netspec.contract.values import fits
from netspec.data.settings import DataSpec
from netspec.data.source import Source
from netspec.errors import NetspecError
from netspec.registry import Registry

__all__ = ["make_source", "source_types"]


_registry = Registry("sources", Source, "netspec.data.sources", "data source")  # type: ignore[type-abstract]


def source_types() -> Mapping[str, type[Source]]:
    """All data sources by the name a spec gives them."""
    return _registry.types()


def make_source(data: DataSpec, seed: int) -> Source:
    """The source that the spec names; nothing is read yet.

    Raises NetspecError for an unknown type and for wrong attributes.
    """
    name = data.source.get("type")
    cls = source_types().get(str(name))
    if cls is None:
        close = difflib.get_close_matches(str(name), source_types(), 1)
        hint = f"did you mean '{close[0]}'?" if close else "there are: " + ", ".join(source_types())
        raise NetspecError(f"data.source: unknown type '{name}' ({hint})")
    given = {key: value for key, value in data.source.items() if key != "type"}
    _check(cls, given)
    defaults = {key: schema["default"] for key, schema in cls.attrs.items() if "default" in schema}
    return cls({**defaults, **given}, seed)


def _check(cls: type[Source], given: Mapping[str, Any]) -> None:
    needed = {key for key, value in cls.attrs.items() if "default" not in value}
    if needed <= set(given) <= set(cls.attrs) and all(fits(cls.attrs[key], value) for key, value in given.items()):
        return
    import jsonschema  # it finds the words for what is wrong

    schema = {
        "type": "object",
        "properties": dict(cls.attrs),
        "required": [key for key, value in cls.attrs.items() if "default" not in value],
        "additionalProperties": False,
    }
    error = next(jsonschema.Draft202012Validator(schema).iter_errors(given), None)
    if error is not None:
        place = ".".join(["data.source", *map(str, error.path)])
        raise NetspecError(f"{place}: {error.message} (type {cls.type} takes: {', '.join(cls.attrs)})")
