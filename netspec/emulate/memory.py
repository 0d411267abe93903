"""Memory of the emulated card: bytes, and for each byte whether it is allocated, written and still to come."""

from __future__ import annotations

import ctypes
import mmap
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np

from netspec.emulate.fault import Fault

Array = np.ndarray[Any, Any]
UNALLOCATED, WRITTEN, BLANK, COMING = 0, 1, 2, 3
"""States of a byte: COMING is one that a copy in the background has yet to bring."""
STATES = {
    UNALLOCATED: "outside every allocation",
    BLANK: "never written",
    COMING: "still being copied: no wait for the copy came before",
}
ALIGNMENT = 256
_GUARD = 4096
"""Bytes between allocations, so that what runs over an end meets nothing."""
_NORESERVE = 0x4000


def lazy(count: int, dtype: Any = np.uint8) -> Array:
    """Zeros that take room only where they are touched."""
    nbytes = count * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
    return np.frombuffer(mmap.mmap(-1, max(nbytes, 1), flags=flags), np.uint8)[:nbytes].view(dtype)


class Space:
    """A stretch of bytes from an address on, with their states and the stamps of who touched each word (races).

    ``private``: each block has a part of it that no other reaches.
    """

    def __init__(self, data: Array, base: int, name: str, private: bool = False) -> None:
        self.base, self.name, self.nbytes, self.private = base, name, data.nbytes, private
        self._data = data
        self._state = lazy(data.nbytes)
        self._stamps: dict[tuple[int, int, int], Array] = {}
        self.has_atomics = False
        self.units: tuple[int, ...] = ()
        """Widths of the stamps that there are."""
        self._cuts: dict[tuple[str, int, Any], Array] = {}

    def words(self, size: int, dtype: Any = np.uint32) -> Array:
        """The bytes as rows of ``size`` bytes; the last ones left out where they do not fill a row."""
        return self._cut("data", self._data, size, dtype)

    def states(self, size: int) -> Array:
        """States of rows of ``size`` bytes, as numbers of up to 8 bytes."""
        return self._cut("state", self._state, size, f"u{min(size, 8)}")

    def stamps(self, kind: int, unit: int, size: int) -> Array:
        """Stamps of ``unit`` bytes each, in rows of ``size`` bytes; those of a unit start when they are first asked."""
        key = (unit, kind, size)
        if key not in self._stamps:
            whole = self._stamps.get((unit, kind, unit))
            if whole is None:
                whole = self._stamps[unit, kind, unit] = lazy(-(-self.nbytes // 16) * 16 // unit, np.int64)
                self.units = tuple(dict.fromkeys((*self.units, unit)))
            self._stamps[key] = whole if size == unit else whole.reshape(-1, size // unit)
        return self._stamps[key]

    def clear_stamps(self) -> None:
        """Forget who touched what."""
        self._stamps.clear()
        self.units = ()

    def mark(self, start: int, stop: int, state: int) -> None:
        """Set the state of bytes, counted from the base."""
        self._state[start:stop] = state

    def state(self, start: int, stop: int) -> Array:
        """States of bytes."""
        return self._state[start:stop]

    def bytes(self, start: int, stop: int) -> Array:
        """Bytes, counted from the base."""
        return self._data[start:stop]

    def _cut(self, kind: str, whole: Array, size: int, dtype: Any) -> Array:
        key = (kind, size, dtype)
        if key not in self._cuts:
            cut = whole[: whole.nbytes // size * size].view(dtype)
            width = size // cut.itemsize
            self._cuts[key] = cut if width <= 1 else cut.reshape(-1, width)
        return self._cuts[key]


class Memory:
    """A card's global memory: one block of host memory, whose addresses are the host's own."""

    def __init__(self, nbytes: int = 1 << 32) -> None:
        data = lazy(nbytes)
        self.main = Space(data, data.ctypes.data, "global memory")
        self._lent: dict[int, Space] = {}
        self._sizes: dict[int, int] = {}
        self._free: list[tuple[int, int]] = [(0, nbytes)]

    def allocate(self, nbytes: int) -> int:
        """The address of a new, blank allocation, a multiple of 256; MemoryError where there is no room."""
        need = -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT + _GUARD
        for place, (start, stop) in enumerate(self._free):
            if stop - start >= need:
                self._free[place] = (start + need, stop)
                self._sizes[self.main.base + start] = nbytes
                self.main.mark(start, start + nbytes, BLANK)
                return self.main.base + start
        raise MemoryError(f"no room for {nbytes} bytes on the emulated card")

    def free(self, address: int) -> None:
        """Give an allocation back; KeyError where there is none at that address."""
        start = address - self.main.base
        nbytes = self._sizes.pop(address)
        self.main.mark(start, start + nbytes, UNALLOCATED)
        need = -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT + _GUARD
        self._free = list(_merged(sorted([*self._free, (start, start + need)])))

    def view(self, address: int, nbytes: int) -> Array:
        """The bytes there, for the host; Fault where they do not lie in one live allocation."""
        if not self.contains(address, nbytes):
            raise Fault(f"the host reaches {nbytes} bytes at {address:#x}, which are not in one allocation")
        space = self._space(address)
        return space.bytes(address - space.base, address - space.base + nbytes)

    def wrote(self, address: int, nbytes: int) -> None:
        """The host, or a copy, has written there."""
        space = self._space(address)
        space.mark(address - space.base, address - space.base + nbytes, WRITTEN)

    def contains(self, address: int, nbytes: int = 1) -> bool:
        """Whether the bytes lie in one live allocation or in memory lent."""
        starts = sorted(self._sizes)
        place = bisect_right(starts, address) - 1
        if place >= 0 and address + nbytes <= starts[place] + self._sizes[starts[place]]:
            return True
        return any(one.base <= address and address + nbytes <= one.base + one.nbytes for one in self._lent.values())

    def lend(self, address: int, nbytes: int) -> None:
        """Let kernels reach host memory, which must live until ``take_back``."""
        start = address & -16  # so that offsets are aligned as addresses are
        block = (ctypes.c_uint8 * (address - start + nbytes)).from_address(start)
        space = Space(np.ctypeslib.as_array(block), start, "page-locked host memory")
        space.mark(address - start, address - start + nbytes, WRITTEN)
        self._lent[address] = space

    def take_back(self, address: int) -> None:
        """Host memory is reached no more."""
        self._lent.pop(address, None)

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The card's own memory, and what was lent to it."""
        return (self.main, *self._lent.values())

    def _space(self, address: int) -> Space:
        for one in self.spaces:
            if one.base <= address < one.base + one.nbytes:
                return one
        raise Fault(f"{address:#x} is no address of the emulated card")


def _merged(stretches: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    start, stop = stretches[0]
    for first, last in stretches[1:]:
        if first == stop:
            stop = last
        else:
            yield start, stop
            start, stop = first, last
    yield start, stop
