"""A list of names packed into one piece of memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class PackedNames:
    """A list of names that pickles fast, where a list of a million strings does not."""

    def __init__(self, names: Sequence[bytes]) -> None:
        import numpy as np

        self.text = b"".join(names)
        """All of them, one after the other."""
        self._ends = np.cumsum(np.fromiter((len(name) for name in names), np.int64, len(names)))

    def __getitem__(self, i: int) -> bytes:
        """The i-th name, for i from 0."""
        start = int(self._ends[i - 1]) if i else 0
        return self.text[start : int(self._ends[i])]

    def part(self, indices: Iterable[int]) -> PackedNames:
        """Some of the names."""
        return PackedNames([self[i] for i in indices])
