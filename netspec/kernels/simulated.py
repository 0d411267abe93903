"""numba's simulator with warps: threads take turns, and those of a warp can meet to exchange values.

The simulator runs a block's threads side by side and polls them for barriers; nothing in it knows of warps. Here one
thread runs at a time, in order, until it waits for its block or its warp: the same outcome each time, many times
faster, and a barrier that some threads never reach is an error.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba.cuda.simulator import kernel as _kernel
from numba.cuda.simulator import kernelapi as _api

LANES = {"warp": 32, "warpgroup": 128}
"""Threads that meet."""
Exchange = Callable[[Sequence[Any]], Sequence[Any]]


class Block:
    """Runs a block's threads: what the simulator's own manager does, in turns."""

    def __init__(self, function: Callable[..., Any], grid: Any, block: tuple[int, ...], debug: bool) -> None:
        self._function, self._grid_dim, self._block_dim, self._debug = function, grid, block, debug
        self.block_state = np.zeros(block, dtype=np.bool_)
        self._back = threading.Semaphore(0)

    def run(self, place: Any, *args: Any) -> None:
        """Run all threads of one block to their ends; raises what a thread raised."""
        threads = [self._thread(place, index, args) for index in np.ndindex(*self._block_dim)]
        threads.sort(key=lambda thread: thread.thread_id)
        for thread in threads:
            thread.start()
        waiting: list[_Thread] = threads
        try:
            while waiting:
                ready = [thread for thread in waiting if thread.wanted is None]
                if not ready:
                    raise RuntimeError("some threads wait at a barrier that others of their block never reach")
                for thread in ready:
                    self._resume(thread)
                waiting = [thread for thread in waiting if thread.is_at_work]
                _meet(waiting)
        finally:
            for thread in waiting:
                thread.abort = True
                thread.turn.release()

    def _thread(self, place: Any, index: tuple[int, ...], args: Any) -> _Thread:
        return _Thread(lambda: self._function(*args), self, place, index, self._debug)

    def _resume(self, thread: _Thread) -> None:
        thread.turn.release()
        self._back.acquire()
        if thread.exception:
            thread.is_at_work = False
            raise thread.exception[0].with_traceback(thread.exception[1])

    def pause(self, thread: _Thread) -> None:
        """Called by a thread: give the turn back and wait for the next one."""
        self._back.release()
        thread.turn.acquire()
        if thread.abort:
            raise RuntimeError("the block was given up")

    def end(self, thread: _Thread) -> None:
        """Called by a thread that has ended."""
        thread.is_at_work = False
        self._back.release()


class _Thread(_kernel.BlockThread):  # type: ignore[misc]
    """One CUDA thread; ``wanted`` is what it waits for: its block, or an exchange in its warp or warpgroup."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.turn = threading.Semaphore(0)
        self.wanted: tuple[str, Any, Exchange | None] | None = None
        self.given: Any = None
        self.is_at_work = True

    def run(self) -> None:
        self.turn.acquire()
        if not self.abort:
            super().run()
            self._manager.end(self)

    def syncthreads(self) -> None:
        """Wait for the block."""
        self.wait("block", None, None)

    def wait(self, whom: str, value: Any, exchange: Exchange | None) -> Any:
        """Wait for the others, and give what the exchange made for this thread."""
        self.wanted = whom, value, exchange
        self._manager.pause(self)
        return self.given


def _meet(threads: Sequence[_Thread]) -> None:
    """Let those go on whose whole block, warp or warpgroup has arrived."""
    if all(thread.wanted and thread.wanted[0] == "block" for thread in threads):
        for thread in threads:
            thread.wanted = None
    for whom, size in LANES.items():
        groups: dict[int, list[_Thread]] = {}
        for thread in threads:
            groups.setdefault(thread.thread_id // size, []).append(thread)
        for lanes in groups.values():
            if all(thread.wanted and thread.wanted[0] == whom for thread in lanes):
                _exchange(lanes)


def _exchange(lanes: Sequence[_Thread]) -> None:
    wanted = [lane.wanted for lane in lanes if lane.wanted]
    exchange = wanted[0][2]
    assert exchange is not None
    results = exchange([value for _, value, _ in wanted])
    for lane, result in zip(lanes, results, strict=True):
        lane.given, lane.wanted = result, None


def in_warp(value: Any, exchange: Exchange) -> Any:
    """Called by all threads of a warp: ``exchange`` gets their values in order and gives each its result."""
    return _together("warp", value, exchange)


def in_warpgroup(value: Any, exchange: Exchange) -> Any:
    """Called by all threads of a warpgroup, four warps of which the first one's number is a multiple of four."""
    return _together("warpgroup", value, exchange)


def _together(whom: str, value: Any, exchange: Exchange) -> Any:
    thread = threading.current_thread()
    assert isinstance(thread, _Thread)
    return thread.wait(whom, value, exchange)


def _shared_array(self: Any, shape: Any, dtype: Any, alignment: int | None = None) -> Any:
    """The simulator's shared array, which takes no alignment, and whose address nobody sees."""
    caller = sys._getframe(1)
    place = (caller.f_code.co_filename, caller.f_lineno)
    if place not in self._allocations:
        own = _api.numpy_support.as_dtype(dtype) if isinstance(dtype, _api.types.Type) else dtype
        self._allocations[place] = np.full(shape, np.nan if np.dtype(own).kind == "f" else -1, own)
    return self._allocations[place]


def install() -> None:
    """Put all this in the simulator's place."""
    _kernel.BlockManager = Block
    _api.FakeCUDAShared.array = _shared_array
