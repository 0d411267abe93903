"""The emulator's exception: undefined behaviour of a kernel, or PTX that is not implemented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "", "race", "outside", "unaligned", "uninitialised", "barrier", "lanes", "launch", "order", "mbarrier", "registers"
]  # fmt: skip
"""What was found; "" for all that has no kind of its own."""


@dataclass(frozen=True, slots=True)
class Site:
    """An instruction, by its line of PTX, and the thread that ran it: ``block 1, thread 5``."""

    line: int
    thread: str = ""
    did: str = ""
    """What it did to the place: ``read`` or ``written``."""


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes that were accessed: an address in global memory; in shared and local memory the offset in a variable.

    ``room`` is the size of that variable in bytes.
    """

    space: str
    address: int
    nbytes: int
    room: int = 0


class Fault(Exception):
    """What a kernel did wrong, in words of PTX, with the kernel's name, the line and the thread where known.

    ``sites`` and ``place`` say the same as data, so that others can tell it in words of the source: the kernel was
    stopped at the first of ``sites``; the second is the other thread of a race, or where others wait.
    """

    def __init__(
        self, message: str, kind: Kind = "", sites: tuple[Site, ...] = (), place: Place | None = None, words: str = ""
    ) -> None:
        super().__init__(message)
        self.kind, self.sites, self.place = kind, sites, place
        self.words = words or message
        """What happened, without thread, place and line."""

    def within(self, kernel: str) -> Fault:
        """The same with the kernel's name before it."""
        return Fault(f"{kernel}: {self}", self.kind, self.sites, self.place, self.words)
