"""Parallel compilation: kernels that the cache lacks are compiled by a pool of worker processes."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from netspec.errors import NetspecError
from netspec.kernels.cache import cache_root
from netspec.kernels.compile_error import told_of
from netspec.machine.cleanup import on_error, on_exit
from netspec.machine.tasks import counted, task
from netspec.registry.plugin_code import portable

_WORTH = 6
"""Kernels to compile from which on other processes are worth their start (half a second each)."""
_MOST = 12
_PATIENCE_S = 60.0
"""How long a process may take over its last kernel; what it has not finished by then is compiled here."""
_START = "from netspec.kernels.compile_worker import main; main()"


class Work(NamedTuple):
    """A kernel to compile for one signature: for CPUs, or for a card by its index."""

    kernel: str
    """As in a plan, see netspec.kernels.lookup."""
    dtype: str
    dispatcher: Any
    signature: tuple[Any, ...]
    card: int | None = None
    tails: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """What it stores its results through, see netspec.kernels.epilogue."""
    bound: int = 0
    """As in Pass."""

    def compile(self) -> None:
        """Compile, or load from the cache. Raises KernelError with the source's line and the compiler's words."""
        if self._is_held():
            return
        function = getattr(self.dispatcher, "py_func", self.dispatcher)
        with told_of(function, "CPUs" if self.card is None else "GPUs", self.kernel), self.place():
            self.dispatcher.compile(self.signature)

    def is_missing(self) -> bool:
        """Whether there is a cache and it does not hold this, nor does this process."""
        if self._is_held():
            return False
        if self.card is None:
            from netspec.kernels.cpu import is_stored
        else:
            from netspec.kernels.numba_cuda import is_stored
        with self.place():
            return is_stored(self.dispatcher, self.signature) is False

    def _is_held(self) -> bool:
        """Whether this process has it; of cards', which have contexts of their own, nobody asks."""
        return self.card is None and self.signature in self.dispatcher.overloads

    def place(self) -> AbstractContextManager[Any]:
        """Within it the card is numba-cuda's current one."""
        if self.card is None:
            return nullcontext()
        from netspec.kernels.numba_cuda import cuda

        card: AbstractContextManager[Any] = cuda.gpus[self.card]
        return card


_gathered: ContextVar[list[Work] | None] = ContextVar("gathered", default=None)


def compile_ahead(work: Work) -> None:
    """Compile now, or at the end of an enclosing ``compiled_together``."""
    gathered = _gathered.get()
    if gathered is None:
        work.compile()
    else:
        gathered.append(work)


@contextmanager
def compiled_together(processes: int) -> Iterator[None]:
    """Defer the block's compilations to its end, and run them on so many processes, this one included."""
    gathered: list[Work] = []
    token = _gathered.set(gathered)
    try:
        yield
    finally:
        _gathered.reset(token)
    asked = {(work.dispatcher, work.signature, work.card): work for work in gathered}  # layers share kernels
    missing = [work for work in asked.values() if work.is_missing()]
    if missing:
        share(missing, processes if len(missing) >= _WORTH else 1)
    for work in counted("loading kernels", gathered):  # or compiling them, where nothing can be kept
        work.compile()


def share(missing: Sequence[Work], processes: int, within: float = math.inf) -> None:
    """Fill the cache by so many processes, this one included; what has not begun after ``within`` seconds is left out.

    The heaviest kernels come first, each is compiled by whoever is free. Whatever fails is met again where it is
    needed, and told there.
    """
    end, total = time.monotonic() + within, len(missing)
    workers = min(processes, _MOST) - 1
    left = deque(sorted(missing, key=lambda work: -_weight(work.dispatcher)))
    helpers: list[_Helper] = []
    told = 0

    def tell() -> None:
        nonlocal told
        done = total - len(left) - sum(helper.busy for helper in helpers)
        if done > told:
            tell_more(done - told)
            told = done

    with task("compiling kernels", total, _where_kept(), even=False) as tell_more, ExitStack() as running:
        with suppress(OSError, RuntimeError):  # no process or thread to spare: fewer helpers, or none
            while sys.executable and len(helpers) < workers:
                helpers.append(helper := _Helper(left))
                running.enter_context(on_exit(helper.close))
        while left:
            if time.monotonic() > end:
                left.clear()
            with suppress(IndexError, NetspecError):  # a helper was faster, or it cannot be compiled
                left.popleft().compile()
            tell()
        deadline = time.monotonic() + _PATIENCE_S
        for helper in helpers:
            while helper.busy and helper.thread.is_alive() and time.monotonic() < deadline:
                helper.thread.join(0.02)
            tell()


def _where_kept() -> str:
    """A remark for people on how long compiled kernels last."""
    root = str(cache_root())
    home = str(Path.home())
    return f"once: kept in {'~' + root.removeprefix(home) if root.startswith(home + os.sep) else root}"


def _weight(dispatcher: Any) -> int:
    """Estimated cost of a compilation: bytes of bytecode that the kernel reaches."""
    function = dispatcher.py_func
    reached = {id(value): value for value in function.__globals__.values() if hasattr(value, "py_func")}
    return len(function.__code__.co_code) + sum(map(_weight, reached.values()))


class _Helper:
    """A worker process, and the thread that feeds it from the queue ``left``."""

    def __init__(self, left: deque[Work]) -> None:
        self.busy = False
        """Whether it is compiling."""
        path = os.pathsep.join(folder for folder in sys.path if folder)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for this process, which then ends its helpers
        )
        self.thread = threading.Thread(target=self._feed, args=(left,), name="netspec-compile", daemon=True)
        with on_error(self.close):
            self.thread.start()

    def _feed(self, left: deque[Work]) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(IndexError, OSError, ValueError):  # nothing is left, or the helper has died or was ended
            pickle.dump(portable(), self.process.stdin)
            self.process.stdin.flush()
            while self.process.stdout.read(1):
                self.busy = False
                work = left.popleft()
                self.busy = True
                asked = (work.kernel, work.dtype, work.signature, work.card, work.tails, work.bound)
                pickle.dump(asked, self.process.stdin)
                self.process.stdin.flush()

    def close(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
