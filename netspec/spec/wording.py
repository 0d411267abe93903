"""Plain words for messages: what a schema asks for, what was written, which known name was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
_WORDS = {"True": "true", "False": "false", "None": "null"}
"""What YAML calls the constants of Python."""
_LONGEST = 40


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name nearest to a misspelt one; None when none is near.

    A name that begins differently must be nearer: 'pading' is 'pad', but 'filters' is not 'after'.
    """
    import difflib

    names = {name.lower(): name for name in known}
    asked = word.lower()[:64]
    for near in difflib.get_close_matches(asked, names, n=3, cutoff=0.6):
        if near[:2] == asked[:2] or difflib.SequenceMatcher(None, near, asked).ratio() >= 0.75:
            return names[near]
    return None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """``did you mean 'pad'?``, or None when no known name is near."""
    name = nearest(word, known)
    return None if name is None else f"did you mean '{name}'?"


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
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def describe(schema: Mapping[str, Any]) -> str:
    """What a JSON Schema fragment asks for: ``a whole number of at least 1``."""
    if "enum" in schema:
        return one_of(_WORDS.get(str(value), str(value)) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return _describe_options(schema["anyOf"])
    if schema.get("x-netspec") == "path":
        return "a path"
    kind = schema.get("type")
    if isinstance(kind, list):
        return _either([describe({**schema, "type": one}) for one in kind])
    if kind == "array":
        return _describe_list(schema)
    if "$ref" in schema:
        return _TYPES["object"]
    return _TYPES.get(str(kind), "a different value") + _bounds(schema)


def _describe_options(options: Sequence[Mapping[str, Any]]) -> str:
    """``a whole number of at least 1, or a list of 2 of them``"""
    first = describe(options[0])
    lists = [one for one in options[1:] if describe(one.get("items", {})) == first and "minItems" in one]
    others = [describe(option) for option in options if option not in lists]
    if not lists:
        return _either(others)
    counts = " or ".join(str(one["minItems"]) for one in lists if "maxItems" in one)
    return f"{_either(others)}, or a list of {f'{counts} of ' if counts else ''}them"


def _either(options: list[str]) -> str:
    return options[0] if len(options) == 1 else ", ".join(options[:-1]) + " or " + options[-1]


def _bounds(schema: Mapping[str, Any]) -> str:
    if schema.get("type") not in ("integer", "number"):
        return ""
    parts = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return f" of {' and '.join(parts)}" if parts else ""


def _describe_list(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    count = f"{least} " if least == most else f"at least {least} " if least > 1 else f"at most {most} " if most else ""
    items = describe(schema.get("items", {}))
    for article in ("a ", "an "):
        items = items.removeprefix(article)
    plural = items.replace("whole number", "whole numbers").replace("text", "texts")
    if plural.startswith(("number", "map")):
        plural = plural.replace("number", "numbers", 1).replace("map", "maps", 1)
    return f"a list of {count}{plural}"
