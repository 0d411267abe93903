"""What the specs of a folder are about: the comment that each begins with, and what it extends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from netspec.errors import NetspecError, printable
from netspec.machine.regular_files import read_regular

_EXTENDS = re.compile(r"""^extends:[ ]+(["']?)([^"'#\n]+)\1[ ]*(?:#.*)?$""", re.MULTILINE)
_MAX_BYTES = 4 * 2**20
_CLAUSE = re.compile(r"(?<=[^.][^.])[.?!:;,]+(?=\s|$)| (?=\()")
"""Where a sentence may be left: behind a word, at its punctuation or before a bracket."""
_LINE = 54
"""Characters of a summary that leave room for the name in a line of 80."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A spec: ``extends`` names the one of the same folder that it changes, ``about`` is its first comment.

    ``depth`` counts the specs that it builds on.
    """

    name: str
    path: Path
    extends: str | None
    about: str
    depth: int = 0

    @property
    def summary(self) -> str:
        """What the comment begins with: as many clauses of its first sentence as a line takes, one at least."""
        text = " ".join(line for line in self.about.split("\n") if not line.startswith(" "))
        ends = [*(match.start() for match in _CLAUSE.finditer(text)), len(text)]
        stop = next((end for end in ends if text[end : end + 1] in ".?!"), len(text))
        clauses = [end for end in ends if end <= stop]
        whole = [end for end in clauses if text.count("(", 0, end) == text.count(")", 0, end)]
        return text[: max((end for end in whole if end <= _LINE), default=clauses[0])]


def spec_list(folder: Path) -> list[Listed]:
    """The specs of a folder, each behind the one that it extends; those that few build on come first.

    Files are read as text: a spec need not hold to be listed, and one that cannot be read has nothing to say.
    """
    found = {path.stem: _listed(path) for path in sorted(folder.glob("*.yaml"))}
    below: dict[str | None, list[str]] = {}
    for one in found.values():
        below.setdefault(one.extends if one.extends in found else None, []).append(one.name)
    families = [list(_family(root, found, below)) for root in below.get(None, ())]
    return [one for family in sorted(families, key=len) for one in family]


def _family(
    name: str, found: dict[str, Listed], below: dict[str | None, list[str]], depth: int = 0
) -> Iterator[Listed]:
    """A spec and those that build on it; none that builds on itself is reached from a root."""
    one = found[name]
    yield Listed(one.name, one.path, one.extends, one.about, depth)
    for child in below.get(name, ()):
        yield from _family(child, found, below, depth + 1)


def _listed(path: Path) -> Listed:
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8-sig", "replace")
    except NetspecError:
        text = ""
    match = _EXTENDS.search(text)
    base = match[2].strip().removesuffix(".yaml") if match else None
    return Listed(path.stem, path, base, _first_comment(text))


def _first_comment(text: str) -> str:
    """The lines that begin with ``#`` at the top of a file, without the marks; indented ones are commands."""
    lines = []
    for line in text.lstrip().splitlines():
        if not line.startswith("#"):
            break
        lines.append(printable(line.lstrip("#").removeprefix(" ").rstrip()))
    return "\n".join(lines)
