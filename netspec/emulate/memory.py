"""Memory of the emulated GPU: bytes, the state of each byte, and shadow memory for the race detector."""

from __future__ import annotations

import ctypes
import mmap
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np

from netspec.emulate.fault import Fault

Array = np.ndarray[Any, Any]
UNALLOCATED, INITIALISED, UNINITIALISED, IN_FLIGHT = 0, 1, 2, 3
"""States of a byte; IN_FLIGHT: an asynchronous copy has yet to write it."""
STATES = {
    UNALLOCATED: "outside every allocation",
    UNINITIALISED: "never written",
    IN_FLIGHT: "still being copied: no wait for the copy came before",
}
ALIGNMENT = 256
_GUARD = 4096
"""Bytes between allocations: a red zone, so that an overrun hits no other allocation."""
_NORESERVE = 0x4000


def zeros_on_demand(count: int, dtype: Any = np.uint8) -> Array:
    """Zeros whose pages are allocated at the first access."""
    nbytes = count * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
    return np.frombuffer(mmap.mmap(-1, max(nbytes, 1), flags=flags), np.uint8)[:nbytes].view(dtype)


class AddressSpace:
    """A range of bytes from an address on, with the state of each byte and the shadow cells of each word.

    ``private``: each thread block has a part of its own, as in shared memory.
    """

    def __init__(self, data: Array, base: int, name: str, private: bool = False) -> None:
        self.base, self.name, self.nbytes, self.private = base, name, data.nbytes, private
        self._data = data
        self._state = zeros_on_demand(data.nbytes)
        self._shadow: dict[tuple[int, int, int], Array] = {}
        self.newest: dict[tuple[int, int], int] = {}
        """What all shadow cells of a kind are less than, by kind and granularity."""
        self.has_atomics = False
        self.units: tuple[int, ...] = ()
        """Granularities, in bytes, of the shadow cells in use."""
        self._cuts: dict[tuple[str, int, Any], Array] = {}

    def words(self, size: int, dtype: Any = np.uint32) -> Array:
        """The bytes as rows of ``size`` bytes; the last ones left out where they do not fill a row."""
        return self._cut("data", self._data, size, dtype)

    def states(self, size: int) -> Array:
        """States of rows of ``size`` bytes, as numbers of up to 8 bytes."""
        return self._cut("state", self._state, size, f"u{min(size, 8)}")

    def shadow(self, kind: int, unit: int, size: int) -> Array:
        """Shadow cells for ``unit`` bytes each, in rows of ``size`` bytes; made when first asked for."""
        key = (unit, kind, size)
        if key not in self._shadow:
            whole = self._shadow.get((unit, kind, unit))
            if whole is None:
                whole = self._shadow[unit, kind, unit] = zeros_on_demand(-(-self.nbytes // 16) * 16 // unit, np.int64)
                self.units = tuple(dict.fromkeys((*self.units, unit)))
            self._shadow[key] = whole if size == unit else whole.reshape(-1, size // unit)
        return self._shadow[key]

    def clear_shadow(self) -> None:
        """Forget all accesses."""
        self._shadow.clear()
        self.newest.clear()
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
    """Global memory with a first-fit allocator; addresses are the host's own."""

    def __init__(self, nbytes: int = 1 << 32) -> None:
        data = zeros_on_demand(nbytes)
        self.main = AddressSpace(data, data.ctypes.data, "global memory")
        self._registered: dict[int, AddressSpace] = {}
        self._sizes: dict[int, int] = {}
        self._free: list[tuple[int, int]] = [(0, nbytes)]
        self.frames: dict[tuple[int, ...], Any] = {}
        """Frames kept between launches (frame_cache), the least recently used first; they go with the memory."""

    def allocate(self, nbytes: int) -> int:
        """The address of a new, uninitialised allocation, aligned to 256 bytes; MemoryError where there is no room."""
        need = -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT + _GUARD
        for place, (start, stop) in enumerate(self._free):
            if stop - start >= need:
                self._free[place] = (start + need, stop)
                self._sizes[self.main.base + start] = nbytes
                self.main.mark(start, start + nbytes, UNINITIALISED)
                return self.main.base + start
        raise MemoryError(f"no room for {nbytes} bytes on the emulated card")

    def free(self, address: int) -> None:
        """Free an allocation; KeyError where there is none at that address."""
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

    def mark_initialised(self, address: int, nbytes: int) -> None:
        """Mark bytes as initialised: the host, or a copy, has written them."""
        space = self._space(address)
        space.mark(address - space.base, address - space.base + nbytes, INITIALISED)

    def contains(self, address: int, nbytes: int = 1) -> bool:
        """Whether the bytes lie in one live allocation or in registered host memory."""
        starts = sorted(self._sizes)
        place = bisect_right(starts, address) - 1
        if place >= 0 and address + nbytes <= starts[place] + self._sizes[starts[place]]:
            return True
        end = address + nbytes
        return any(one.base <= address and end <= one.base + one.nbytes for one in self._registered.values())

    def register_host(self, address: int, nbytes: int) -> None:
        """Map host memory for kernels (as cuMemHostRegister does); it must live until ``unregister_host``."""
        start = address & -16  # so that offsets are aligned as addresses are
        block = (ctypes.c_uint8 * (address - start + nbytes)).from_address(start)
        space = AddressSpace(np.ctypeslib.as_array(block), start, "page-locked host memory")
        space.mark(address - start, address - start + nbytes, INITIALISED)
        self._registered[address] = space

    def unregister_host(self, address: int) -> None:
        """Unmap host memory."""
        self._registered.pop(address, None)

    @property
    def spaces(self) -> tuple[AddressSpace, ...]:
        """Global memory and registered host memory."""
        return (self.main, *self._registered.values())

    def _space(self, address: int) -> AddressSpace:
        for one in self.spaces:
            if one.base <= address < one.base + one.nbytes:
                return one
        raise Fault(f"{address:#x} is no address of the emulated card")


def _merged(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    start, stop = ranges[0]
    for first, last in ranges[1:]:
        if first == stop:
            stop = last
        else:
            yield start, stop
            start, stop = first, last
    yield start, stop
