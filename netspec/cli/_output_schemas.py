"""JSON Schemas of what commands print with --json and of metrics.jsonl, written out from outputs.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from netspec.errors import NetspecError

_TYPES = ("string", "integer", "number", "boolean", "null")
_KEYWORDS = frozenset({"anyOf", "allOf", "enum", "required", "minimum"})
"""What is written out in outputs.yaml already has one of these."""


def names() -> list[str]:
    """What there is a schema of: ``metrics``, ``error``, and every command with --json."""
    return list(_file()["outputs"])


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of an output; raises NetspecError where there is no such one."""
    if name not in names():
        from netspec.spec.wording import did_you_mean

        raise NetspecError(f"no output '{name}' ({did_you_mean(name, names()) or 'known: ' + ', '.join(names())})")
    file = _file()
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:netspec:output:{name.replace(' ', '-')}:{file['version']}",
        "title": f"netspec {name} --json" if name not in ("metrics", "error") else name,
    }
    shared = {key: _schema(value) for key, value in file["shared"].items()}
    return {**head, **_schema(file["outputs"][name]), "$defs": shared}


@cache
def _file() -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "outputs.yaml").read_text(encoding="utf-8"))
    return found


def _schema(short: Any) -> dict[str, Any]:
    """What a short form says."""
    if isinstance(short, list):
        return {"type": "array", "items": _schema(short[0])}
    if isinstance(short, Mapping):
        return dict(short) if _KEYWORDS & short.keys() else _object(short)
    words, _, about = short.partition(": ")
    options = [{"$ref": f"#/$defs/{word[1:]}"} if word.startswith("$") else _plain(word) for word in words.split("|")]
    found = options[0] if len(options) == 1 else {"anyOf": options}
    return {**found, "description": about} if about else found


def _plain(word: str) -> dict[str, Any]:
    if word == "any":
        return {}
    assert word in _TYPES, word
    return {"type": word}


def _object(short: Mapping[str, Any]) -> dict[str, Any]:
    if list(short) == ["*"]:
        return {"type": "object", "additionalProperties": _schema(short["*"])}
    required = [name for name in short if not name.endswith("~")]
    return {
        "type": "object",
        "required": required,
        "properties": {name.removesuffix("~"): _schema(value) for name, value in short.items()},
    }
