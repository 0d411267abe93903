"""Faults of the emulator in words of the source: file and line of each thread, array, index and shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netspec.contract.parameter_names import parameter_names
from netspec.contract.source_place import place_of, text_at
from netspec.device.emulated.source_text import arrays_on, shared_arrays
from netspec.emulate.fault import Fault, Place, Site
from netspec.emulate.memory import Array
from netspec.emulate.ptx.line_info import Frames
from netspec.errors import KernelError

_BARRIER = "all threads of a block must reach the same cuda.syncthreads(), those without an element too"
_LANES = "all lanes of a warp must reach the same shuffle or vote, those without an element too"
_UNALIGNED = "load4, store4 and 128-bit copies begin at an index that is a multiple of four"
_UNINITIALISED = (
    "what a kernel writes (it is overwritten, not added to), scratch memory and shared arrays begin undefined"
)
_MEET = "put cuda.syncthreads() between the two"
_ONE_THREAD = "leave each element to one thread, or put cuda.syncthreads() between"
_ORDER = (
    "threads come in any order, so that no two runs give the same bits; sum in a fixed order instead, as per_channel "
    "does, or in shared memory"
)
_BLOCKS = "blocks run in any order, at once: what one of them writes, no other may touch in the same kernel"


def kernel_error(
    fault: Fault, kernel: Callable[..., Any], args: Sequence[Any], lines: Callable[[], Mapping[int, Frames]]
) -> KernelError:
    """What a launch of the kernel did wrong; ``lines`` gives sources by line of PTX, and is asked once."""
    found = lines() if fault.sites else {}
    named = dict(zip(parameter_names(kernel), args, strict=True))
    arrays = {name: value for name, value in named.items() if isinstance(value, np.ndarray)}
    return _Diagnosis(fault, kernel, arrays, found).error()


@dataclass(frozen=True)
class _Diagnosis:
    """A fault with what the launch was given: arrays by the kernel's parameters, and sources by line of PTX."""

    fault: Fault
    kernel: Callable[..., Any]
    arrays: Mapping[str, Array]
    lines: Mapping[int, Frames]

    def error(self) -> KernelError:
        frames = self._frames(self.fault.sites[0]) if self.fault.sites else ()
        where = f"{frames[0].file}:{frames[0].line}" if frames else place_of(self.kernel)
        message = f"{where}: {self.kernel.__name__} {self._what()}"
        return KernelError("\n    ".join([message, *self._excerpts()]), f"{self.fault.kind} {where}")

    def _frames(self, site: Site) -> Frames:
        return tuple(one for one in self.lines.get(site.line, ()) if not one.file.startswith("<"))  # no generated code

    def _what(self) -> str:
        fault = self.fault
        site, place = fault.sites[0] if fault.sites else Site(0), fault.place
        by = f" ({site.thread})" if site.thread else ""
        match fault.kind:
            case "race" if place:
                return self._race(site, fault.sites[1], place)
            case "outside" if place:
                verb = "reads" if site.did == "read" else "writes"
                return f"{verb} outside an array: {self._element(place, site)}{by}"
            case "uninitialised" if place:
                verb = "reads" if site.did == "read" else "writes"
                return f"{verb} {self._element(place, site)}, which {fault.words}{by}; {_UNINITIALISED}"
            case "unaligned" if place:
                what = f"an unaligned access of {place.nbytes} bytes"
                return f"makes {what}: {self._element(place, site)}{by}; {_UNALIGNED}"
            case "barrier":
                return f"has a barrier that some threads do not reach: {site.thread} {fault.words}; {_BARRIER}"
            case "lanes":
                return f"has a shuffle or vote that some lanes do not reach: {site.thread} {fault.words}; {_LANES}"
            case "mbarrier" | "registers":
                return f"cannot go on: {site.thread} {fault.words}"
            case "order":
                return f"adds floats atomically: {_ORDER}"
            case "launch":
                return f"cannot be launched: {fault.words}"
            case _:
                return f"does what is undefined: {site.thread} {fault.words}" if site.thread else f"is stopped: {fault}"

    def _race(self, one: Site, two: Site, place: Place) -> str:
        element = self._element(place, one)
        own, other = (site.thread.partition(" of ") for site in (one, two))
        remedy = _BLOCKS if own[2] != other[2] else _MEET if place.space == "shared memory" else _ONE_THREAD
        threads = f"{one.did} by {one.thread}, {two.did} by {two.thread}"
        return f"has a race on {element}: {threads}, with no barrier between; {remedy}"

    def _excerpts(self) -> Iterator[str]:
        """The source line of each site, with the calls that led there; its text alone where it is the only one."""
        every = [line for site in self.fault.sites for line in self._frames(site)]
        if len(every) == 1:
            yield text_at(*every[0])
            return
        for site in self.fault.sites:
            for depth, line in enumerate(self._frames(site)):
                did = (f"{site.did} at " if site.did else "") if depth == 0 else "called at "
                yield f"{did}{line.file}:{line.line}: {text_at(*line)}"

    def _element(self, place: Place, site: Site) -> str:
        """``x[3, 4] (x is (5, 6))``"""
        frames = self._frames(site)
        if place.space == "shared memory":
            return self._shared(place, frames, site)
        if place.space == "local memory":
            return "an array in local memory"
        found = self._containing(place.address) or self._nearest(place.address, frames, site)
        if found is None:
            return f"{place.nbytes} bytes of global memory that are no argument's"
        name, array = found
        offset = (place.address - array.ctypes.data) // array.itemsize
        return _element(name, _index(offset, array), array, place.nbytes // array.itemsize)

    def _containing(self, address: int) -> tuple[str, Array] | None:
        arrays = self.arrays.items()
        return next(((n, a) for n, a in arrays if a.ctypes.data <= address < a.ctypes.data + _extent(a)), None)

    def _nearest(self, address: int, frames: Frames, site: Site) -> tuple[str, Array] | None:
        """Of the arrays that the kernel's line names, or of all, the one that is closest to an address outside."""
        named = arrays_on(frames[-1], site.did != "read") if frames else []
        some = {name: self.arrays[name] for name in named if name in self.arrays} or self.arrays

        def distance(pair: tuple[str, Array]) -> int:
            start = pair[1].ctypes.data
            return max(start - address, address - start - _extent(pair[1]))

        return min(some.items(), key=distance, default=None)

    def _shared(self, place: Place, frames: Frames, site: Site) -> str:
        found = shared_arrays(frames, self.kernel, place.room)
        named = [name for line in frames for name in arrays_on(line, site.did != "read")]
        found.sort(key=lambda one: named.index(one.name) if one.name in named else len(named))
        if not found:
            return f"byte {place.address} of a shared array of {place.room} bytes"
        one = found[0]
        like = np.empty(one.shape, f"u{place.room // max(1, int(np.prod(one.shape)))}")
        return _element(one.name, _index(place.address // like.itemsize, like), like, place.nbytes // like.itemsize)


def _element(name: str, index: Sequence[int], array: Array, count: int) -> str:
    several = f"{count} elements from " if count > 1 else ""
    return f"{several}{name}[{', '.join(map(str, index))}] ({name} is {array.shape})"


def _extent(array: Array) -> int:
    """Bytes from an array's first element to behind its last one."""
    return array.itemsize + sum(int(n - 1) * int(by) for n, by in zip(array.shape, array.strides, strict=True))


def _index(offset: int, array: Array) -> tuple[int, ...]:
    """The index of an element, counted in C order; one outside has a first index outside."""
    if array.ndim < 2:
        return (int(offset),)
    rest = int(np.prod(array.shape[1:]))
    first, inner = divmod(int(offset), rest)
    return (first, *(int(place) for place in np.unravel_index(inner, array.shape[1:])))
