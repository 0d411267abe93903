"""Worker processes for preparing a set: results in order, few under way at a time, and none outlives its parent."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Self, TypeVar

from netspec.errors import NetspecError
from netspec.machine.limits import cause

T = TypeVar("T")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 32 * 2**20
"""Bytes: the most that glibc takes for the second."""
_AHEAD = 12
"""Calls under way for each worker: so many are done while a finished shard is synced to the disk."""


class Pool:
    """So many processes; 0: calls run in this one."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        context = multiprocessing.get_context("spawn")  # knows nothing of this process's threads and locks
        self._executor = ProcessPoolExecutor(workers, context, _begin) if workers else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def in_order(self, call: Callable[..., T], arguments: Iterable[tuple[Any, ...]]) -> Iterator[T]:
        """The results of a call with each of the arguments; raises what it raises, NetspecError for a dead worker."""
        if self._executor is None:
            yield from (call(*each) for each in arguments)
            return
        pending: deque[Future[T]] = deque()
        try:
            for each in arguments:
                pending.append(self._submitted(self._executor, call, each))
                if len(pending) >= _AHEAD * self.workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            hint = "was memory short? what is finished is kept, and the same command goes on from there"
            raise NetspecError(f"a worker process died ({hint})") from error

    @staticmethod
    def _submitted(executor: ProcessPoolExecutor, call: Callable[..., T], arguments: tuple[Any, ...]) -> Future[T]:
        try:
            return executor.submit(call, *arguments)
        except BrokenProcessPool:
            raise
        except (OSError, RuntimeError) as error:
            raise NetspecError(f"no worker process can be started: {cause(error)}; --workers 0 needs none") from error


def _begin() -> None:
    """Begin a worker: Ctrl-C is for the parent; with the parent it ends; memory that it frees stays its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _keep_memory()


def _keep_memory() -> None:
    """Have glibc and Pillow keep what is freed: else each image's pixels are faulted in anew, 40 % of all time."""
    import PIL.Image

    pillow: Any = PIL.Image
    pillow.core.set_blocks_max(4)
    with contextlib.suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
