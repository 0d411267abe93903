"""Plain words for messages: what a schema asks for, what was written, which known name was meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "object": "a map",
    "null": "null",
}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
_LONGEST = 40


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """``did you mean 'pad'?`` for the known name nearest to a misspelt one; None when none is near."""
    import difflib

    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower()[:64], names, n=1)
    return f"did you mean '{names[near[0]]}'?" if near else None


def one_of(names: Iterable[str]) -> str:
    """``one of a, b, c``"""
    listed = list(names)
    return listed[0] if len(listed) == 1 else "one of " + ", ".join(listed)


def meant(word: str, known: Iterable[str]) -> str | None:
    """A remedy for an unknown name: the nearest known one, or the list where it is short."""
    names = list(known)
    return did_you_mean(word, names) or (f"known: {', '.join(names)}" if 0 < len(names) <= 24 else None)


def show(value: Any) -> str:
    """The value as a message quotes it: words in quotes, kept short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + _shorten(value) + "'"
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, list | tuple):
        return _shorten("[" + ", ".join(show(item) for item in value) + "]")
    return _shorten(str(value))


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def describe(schema: Mapping[str, Any]) -> str:
    """What a JSON Schema fragment asks for: ``a whole number of at least 1``."""
    if "enum" in schema:
        return one_of(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    for joint in ("anyOf", "oneOf"):
        if joint in schema:
            return _either([describe(option) for option in schema[joint]])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _either([describe({**schema, "type": one}) for one in kind])
    if kind == "array":
        return _describe_list(schema)
    return _TYPES.get(str(kind), "a different value") + _bounds(schema)


def _either(options: list[str]) -> str:
    return options[0] if len(options) == 1 else ", ".join(options[:-1]) + " or " + options[-1]


def _bounds(schema: Mapping[str, Any]) -> str:
    if schema.get("type") not in ("integer", "number"):
        return ""
    parts = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return f" of {' and '.join(parts)}" if parts else ""


def _describe_list(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    count = f"{least} " if least == most else f"at least {least} " if least > 1 else ""
    items = describe(schema.get("items", {}))
    for article in ("a ", "an "):
        items = items.removeprefix(article)
    plural = items.replace("whole number", "whole numbers").replace("text", "texts")
    if plural.startswith("number"):
        plural = plural.replace("number", "numbers", 1)
    return f"a list of {count}{plural}"
