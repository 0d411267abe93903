"""Printing: JSON, and text that may be long."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from os import PathLike
from typing import Any

import click

from netspec.machine.names import ESCAPED

_SURROGATE = re.compile("[\ud800-\udfff]")


def open_streams() -> None:
    """Let the streams take whatever is printed: a closed one (``>&-``) leads nowhere, signs it lacks are escaped."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)


def emit_json(data: Any) -> None:
    """Print data as indented JSON; a byte of a path that is no text is the surrogate that Python reads it as."""
    text = json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False)
    click.echo(_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def plain(value: Any) -> Any:
    """Dataclasses, maps, tuples and paths as what JSON has; a number that is not finite as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return str(value)
    return str(value) if isinstance(value, PathLike) else value
