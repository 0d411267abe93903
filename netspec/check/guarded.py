"""Arrays of a layer that is checked, each between two guards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from netspec.contract.naming import Argument
from netspec.device.base import Device
from netspec.device.dtypes import widened
from netspec.errors import NetspecError

Array = np.ndarray[Any, Any]
_GUARD = 256
"""Bytes before and behind each array, all ones where it is read: that gives NaN or -1. Writing to them is found."""
_ONES, _WRITTEN = 255, 127


class Spoilt(NetspecError):
    """A kernel has changed what it must not; ``array`` is what."""

    def __init__(self, message: str, array: Argument) -> None:
        super().__init__(message)
        self.array = array


@dataclass(frozen=True, slots=True)
class _Held:
    """What an array and its guards begin with, in host memory: ``raw`` are all bytes, ``values`` those between."""

    arena: Any
    raw: Array
    values: Array
    undefined: bool


class GuardedArrays:
    """Arrays on a device, which are filled again for each run.

    An emulator needs no guards: it stops a kernel itself where it leaves an array or reads what was never written.
    """

    def __init__(self, device: Device, dtype: str) -> None:
        self.device, self.dtype = device, dtype
        self.forget: Callable[[Any], None] | None = getattr(device, "forget", None)
        self.unwritten: Callable[[Any], Array] | None = getattr(device, "unwritten", None)
        self.guard_bytes = _GUARD if self.forget is None else 0
        self.arrays: dict[Argument, Any] = {}
        self._held: dict[Argument, _Held] = {}

    def add(self, name: Argument, value: Array, undefined: bool = False, written: bool = False) -> None:
        """Room for a value, which it holds unless ``fill`` is given another; a floating one in the compute dtype.

        ``undefined``: none may read it; ``written``: kernels declare to write it.
        """
        dtype = np.dtype(self.dtype) if value.dtype.kind == "f" else value.dtype
        nbytes = value.size * dtype.itemsize
        raw = np.full(nbytes + 2 * self.guard_bytes, _WRITTEN if written else _ONES, np.uint8)
        values = raw[self.guard_bytes : self.guard_bytes + nbytes].view(dtype).reshape(value.shape)
        values[...] = value
        arena = self.device.arena(raw.nbytes)
        self.arrays[name] = self.device.carve(arena, self.guard_bytes, value.shape, str(dtype))
        self._held[name] = _Held(arena, raw, values, undefined)

    def fill(self, given: Mapping[Argument, Array]) -> None:
        """Have each array hold its value again, or the given one."""
        for name, held in self._held.items():
            if name in given and not held.undefined:
                held.values[...] = given[name]
            self.device.upload(held.arena, held.raw)
            if held.undefined and self.forget is not None:
                self.forget(self.arrays[name])

    def check(self, unchanged: Collection[Argument]) -> None:
        """Raise Spoilt where a guard is written to, or an array has changed that must not."""
        found = {name: self.device.download(held.arena) for name, held in self._held.items()}
        for name, held in self._held.items() if self.guard_bytes else ():
            for end in (slice(None, _GUARD), slice(-_GUARD, None)):
                if found[name][end].tobytes() != held.raw[end].tobytes():
                    words = f"a kernel writes outside the array '{name}' of shape {self.arrays[name].shape}"
                    raise Spoilt(words, name)
        for name in unchanged:
            if found[name].tobytes() != self._held[name].raw.tobytes():
                _check_unchanged(name, widened(self._held[name].values), self.device.download(self.arrays[name]))

    def unwritten_of(self, name: Argument) -> str:
        """Elements of which an emulator knows that no kernel has written them, in words; "" for none."""
        missing = self.unwritten(self.arrays[name]) if self.unwritten else np.zeros(0, bool)
        if not missing.any():
            return ""
        place = ", ".join(str(int(i)) for i in np.argwhere(missing)[0])
        return f"{name}[{place}] is never written ({int(missing.sum())} of {missing.size} elements)"


def _check_unchanged(name: Argument, before: Array, after: Array) -> None:
    changed = (after != before) & ~(np.isnan(before) & np.isnan(after))
    if changed.any():
        place = tuple(int(i) for i in np.argwhere(changed)[0])
        raise Spoilt(
            f"a kernel changes '{name}', which it does not name among what it writes: "
            f"{name}[{', '.join(map(str, place))}] was {before[place]:.9g} and is {after[place]:.9g}",
            name,
        )
