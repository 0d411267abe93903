"""The state of the stand-in driver: its cards, what handles stand for, and how its functions are declared."""

from __future__ import annotations

import ctypes
import sys
import threading
import traceback
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from stand_in.queues import NOT_READY, DriverError, Queues, Stream

CONTEXT = 0x1000
"""The handle of the first card's context; the others follow."""
INVALID_VALUE, OUT_OF_MEMORY, INVALID_CONTEXT, INVALID_HANDLE, ILLEGAL_ADDRESS, UNKNOWN = 1, 2, 201, 400, 700, 999
FUNCTIONS: dict[str, Callable[..., int]] = {}
"""The driver's functions by name, as callbacks for C."""
_TYPES = {"p": ctypes.c_void_p, "s": ctypes.c_size_t, "i": ctypes.c_int, "u": ctypes.c_uint, "c": ctypes.c_char_p}
_EXPECTED = (NOT_READY, 704)
"""Answers that are no failures: not yet, and peers that know each other."""
_WORKS_AFTER_A_FAULT = ("cuGetError", "cuCtx", "cuInit", "cuDevice", "cuDriver")


class Cards:
    """Everything that one process's driver knows."""

    def __init__(self) -> None:
        self.memories: list[Any] = []
        self.queues = Queues()
        self.hosts: dict[int, ctypes.Array[Any]] = {}
        self.peers: set[tuple[int, int]] = set()
        self.are_peers = True
        """Whether cards can reach each other's memory, once they have been made peers."""
        self.sticky = 0
        """Once a kernel has failed, every call answers with this."""
        self.refused: dict[str, int] = {}
        """Calls that answer with a number and do nothing else."""
        self.lock = threading.RLock()
        self._handles: dict[int, Any] = {}
        self._next = count(0x10000)
        self._contexts = threading.local()

    def open(self, number: int, seed: int, nbytes: int) -> None:
        """So many cards with so much memory; ``seed`` draws the order of what may run in any order."""
        from netspec.emulate import Memory

        self.queues = Queues(seed)
        self.queues.legacy = {device: Stream(device) for device in range(number)}
        self.memories = [Memory(nbytes) for _ in range(number)]
        self.bytes = nbytes

    def new(self, thing: Any) -> int:
        """A handle."""
        handle = next(self._next) * 16
        self._handles[handle] = thing
        return handle

    def get(self, handle: int | None, kind: type) -> Any:
        """What a handle stands for."""
        thing = self._handles.get(handle or 0)
        if not isinstance(thing, kind):
            raise DriverError(INVALID_HANDLE, f"{handle} is no {kind.__name__}")
        return thing

    def forget(self, handle: int, kind: type) -> Any:
        """What a handle stood for."""
        thing = self.get(handle, kind)
        del self._handles[handle]
        return thing

    def stack(self) -> list[int]:
        """The cards of this thread's contexts, the current one last."""
        if not hasattr(self._contexts, "stack"):
            self._contexts.stack = []
        return self._contexts.stack

    def device(self) -> int:
        """The current context's card."""
        if not self.stack():
            raise DriverError(INVALID_CONTEXT, "no context is current")
        return self.stack()[-1]

    def stream(self, handle: int | None) -> Stream:
        """A stream by its handle; 0 and 1 are the default one."""
        if not handle or handle == 1:
            return self.queues.legacy[self.device()]
        return self.get(handle, Stream)

    def where(self, address: int) -> int | None:
        """The card whose memory that is; None for the host's."""
        return next((device for device, memory in enumerate(self.memories) if memory.contains(address)), None)

    def is_pageable(self, address: int) -> bool:
        """Whether this is memory of the host that the driver did not allocate."""
        pinned = any(start <= address < start + len(block) for start, block in self.hosts.items())
        return self.where(address) is None and not pinned

    def bytes_at(self, address: int, nbytes: int) -> Any:
        """Memory, whosever it is, as an array of bytes."""
        device = self.where(address)
        if device is not None:
            return self.memories[device].view(address, nbytes)
        return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), np.uint8)

    def wrote(self, address: int, nbytes: int) -> None:
        """Memory has been written by a copy."""
        device = self.where(address)
        if device is not None:
            self.memories[device].mark_initialised(address, nbytes)


cards = Cards()


def function(types: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a driver function of that name and those argument types; what it refuses is told on standard error."""

    def mark(body: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> int:
            with cards.lock:
                if body.__name__ in cards.refused:
                    return cards.refused[body.__name__]
                if cards.sticky and not body.__name__.startswith(_WORKS_AFTER_A_FAULT):
                    return cards.sticky
                return _answer(body, args)

        FUNCTIONS[body.__name__] = ctypes.CFUNCTYPE(ctypes.c_int, *(_TYPES[letter] for letter in types))(call)
        return body

    return mark


def _answer(body: Callable[..., None], args: Any) -> int:
    try:
        body(*args)
    except DriverError as error:
        if error.code not in _EXPECTED:
            print(f"stand-in driver: {body.__name__}: {error.code}: {error}", file=sys.stderr)
        return error.code
    except Exception:
        traceback.print_exc()
        return UNKNOWN
    return 0


def put(place: int | None, kind: Any, value: Any) -> None:
    """Write a result where the caller wants it."""
    if place:
        kind.from_address(place).value = value
