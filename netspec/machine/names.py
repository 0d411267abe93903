"""Names of files in text for shells, files and streams: any bytes may be in them, as Python's surrogates keep them."""

from __future__ import annotations

import codecs
import os
import shlex
from pathlib import Path

from netspec.errors import printable

ESCAPED = "netspec.escaped"
"""The error handler for all text that is written: a byte of a name that is no text becomes ``\\xNN``, else ``?``."""


def shell_word(name: str | os.PathLike[str]) -> str:
    """A name as a shell reads it: as it is, in quotes, or as ``$'...'`` where it is not printable."""
    text = os.fspath(name)
    if printable(text) == text:
        return shlex.quote(text)
    return f"$'{''.join(map(_quoted, text))}'"


def nearer(path: str | Path) -> str:
    """The path as seen from the working directory, where it lies below it."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def argument(path: str | Path) -> str:
    """The path as seen from the working directory, as a shell reads it and no command takes it for an option."""
    text = nearer(path)
    return shell_word(f"./{text}" if text.startswith("-") else text)


def _quoted(char: str) -> str:
    """A character between ``$'`` and ``'``, by its bytes where it is not printable."""
    if char in "\\'":
        return "\\" + char
    if printable(char) == char:
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    failed = error.object[error.start : error.end]
    return "".join(printable(char) if "\udc80" <= char <= "\udcff" else "?" for char in failed), error.end


codecs.register_error(ESCAPED, _escaped)
