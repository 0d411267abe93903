"""Names of classes: which of them are equal, and what is said of those that are not known."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence

from netspec.errors import printable

NESTED = "the class of an image is the first folder below its split"


def canonical(folder: bytes) -> bytes:
    """A folder's name in Unicode's composed form (NFC): macOS decomposes what other systems compose."""
    if folder.isascii():
        return folder
    text = unicodedata.normalize("NFC", folder.decode("utf-8", "surrogateescape"))
    return text.encode("utf-8", "surrogateescape")


def class_name(folder: bytes) -> str:
    """The name of the class whose images lie in a folder of that name."""
    return printable(canonical(folder))


def numbers_by_name(classes: Sequence[str]) -> Mapping[str, int]:
    """Index of each class by its name, whatever form of Unicode it was recorded in."""
    return {class_name(name.encode("utf-8", "surrogatepass")): i for i, name in enumerate(classes)}


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, quoted, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(f"'{printable(name)}'" for name in names[:most]) + more


def describe_unknown(unknown: Sequence[str], known: Sequence[str]) -> str:
    """The unknown names, each with the known one that it may have been meant to be, and the first place they differ."""
    near = [(name, difflib.get_close_matches(name, known, 1)) for name in unknown[:5]]
    hints = [f"'{name}' is not '{close[0]}': {_difference(name, close[0])}" for name, close in near if close]
    return listed(unknown) + (f" ({'; '.join(hints)})" if hints else "")


def _difference(name: str, other: str) -> str:
    place = next((i for i, (a, b) in enumerate(zip(name, other, strict=False)) if a != b), min(len(name), len(other)))
    return f"it has {_character(name, place)}, the other {_character(other, place)}"


def _character(text: str, place: int) -> str:
    if place == len(text):
        return "its end there"
    return f"U+{ord(text[place]):04X} {unicodedata.name(text[place], 'without a name')}"
