"""A list of names packed into one piece of memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable


class PackedNames:
    """A list of names that pickles fast, where a list of a million strings does not."""

    def __init__(self, names: Iterable[bytes]) -> None:
        import numpy as np

        text, ends = bytearray(), array("q")
        for name in names:
            text += name
            ends.append(len(text))
        self.text = bytes(text)
        """All of them, one after the other."""
        self._ends = np.frombuffer(ends, np.int64)

    def __getitem__(self, i: int) -> bytes:
        """The i-th name, for i from 0."""
        start = int(self._ends[i - 1]) if i else 0
        return self.text[start : int(self._ends[i])]

    def part(self, indices: Iterable[int]) -> PackedNames:
        """Some of the names."""
        return PackedNames(self[i] for i in indices)
