"""Errors written for people: what is wrong, where, and what to do about it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(name: str | bytes | os.PathLike[str]) -> str:
    """A name from outside (a path, a folder, a class) as text that stays on its line and moves no cursor.

    Control characters (C0, DEL, C1), line and paragraph separators, bidirectional controls and bytes that are not UTF-8
    become escapes such as \\x1b and \\u202e; all else, backslashes too, is as it was.
    """
    raw = os.fspath(name)
    return _UNPRINTABLE.sub(_escaped, raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else raw)


def printable_lines(text: str) -> str:
    """A message of several lines, each printable."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode has it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a source text: file, line and column, both counted from 1.

    ``text`` is the source line and ``width`` the number of characters meant, so that an error can show the place
    wherever it is found; ``use`` is where the block that the place belongs to is used. None of them takes part in
    comparisons.
    """

    file: str
    line: int
    column: int
    text: str = field(default="", compare=False, repr=False)
    width: int = field(default=1, compare=False, repr=False)
    use: Mark | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """``file:line:column``"""
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def told(self) -> str:
        """The place for who may have called from Python, where no option such as ``--set`` was typed."""
        given = self.file.startswith("--") and self.text
        return f"in '{self.text.removeprefix(f'{self.file} ')}'" if given else str(self)


class NetspecError(Exception):
    """Anything a user can mend. The command line prints it as one message, never as a traceback."""


class NoSuchFile(NetspecError):
    """A file, a folder or a run that was named and is not there: for the command line, wrong usage."""


class KernelError(NetspecError):
    """A kernel that cannot be compiled, or that does what hardware leaves undefined.

    ``cause`` is the same for all that one mistake in the source leads to, whatever the shapes and the numbers.
    """

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a spec: its place, the message and, where there is one, the remedy."""

    mark: Mark | None
    message: str
    remedy: str | None = None

    def uses(self) -> list[Mark]:
        """Where the block that the place belongs to is used: the innermost use first, empty outside of blocks."""
        found: list[Mark] = []
        use = self.mark.use if self.mark else None
        while use is not None:
            found.append(use)
            use = use.use
        return found

    def headline(self) -> str:
        """``file:line:column: message (remedy)`` on one line; of a change ``in 'train.batch=x': message``."""
        place = f"{self.mark.told}: " if self.mark else ""
        used = "".join(f"; used at {use}" for use in self.uses())
        return printable(place + self.message + (f" ({self.remedy})" if self.remedy else "") + used)


class SpecError(NetspecError):
    """All that is wrong with a spec, in the order of its lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.headline() for problem in self.problems))

    def __reduce__(self) -> tuple[type, tuple[Sequence[Problem]]]:
        """How another process makes it anew."""
        return type(self), (self.problems,)


class LayerError(NetspecError):
    """Raised by a layer's shape rule; the plan adds the layer's name and place.

    ``attr`` names the attribute to point at, where one is to blame.
    """

    def __init__(self, message: str, remedy: str | None = None, attr: str | None = None) -> None:
        self.message, self.remedy, self.attr = message, remedy, attr
        super().__init__(message)
