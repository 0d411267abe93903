"""Runs launches: a batch of thread blocks at a time in lockstep; divergent threads by the lowest basic block first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from netspec.emulate.deadlock import deadlock
from netspec.emulate.fault import Fault
from netspec.emulate.frame import Frame, Step
from netspec.emulate.frame_cache import frame_for
from netspec.emulate.instructions.bulk_copies import BulkCopies
from netspec.emulate.instructions.cp_async import AsyncCopies
from netspec.emulate.instructions.mbarrier import MBarriers
from netspec.emulate.instructions.named_barriers import NamedBarriers
from netspec.emulate.instructions.parking import going_lanes, may_park
from netspec.emulate.instructions.register_pool import RegisterPool
from netspec.emulate.instructions.warp import barrier_name, converged_lanes
from netspec.emulate.instructions.wgmma import AsyncProducts, registers
from netspec.emulate.memory import Array, Memory
from netspec.emulate.module import BasicBlock, Kernel, Module
from netspec.emulate.ptx.operands import Symbol
from netspec.emulate.races import Clock, RaceDetector

Extent = tuple[int, int, int]
THREADS = 1 << 14
"""Threads of a batch, where blocks are small."""
SHARED_LIMIT = 227 << 10
"""Most bytes of shared memory a block (compute capability 9.0)."""
_clocks: WeakKeyDictionary[Memory, Clock] = WeakKeyDictionary()
_Mask = Array | None
"""Active threads of a frame; None for all."""


def launch(
    module: Module,
    name: str,
    grid: Extent,
    block: Extent,
    dynamic_shared: int,
    parameters: Sequence[bytes],
    memory: Memory,
    *,
    check: bool = True,
) -> None:
    """Run a kernel to its end. ``check`` False leaves out race detection.

    Raises Fault for whatever the kernel does wrong.
    """
    kernel = module.kernels[name]
    try:
        _launch(module, kernel, grid, block, dynamic_shared, parameters, memory, check)
    except Fault as fault:
        raise fault.within(_readable(name)) from fault


def _readable(name: str) -> str:
    """The function's name, demangled: the last part of the nested name."""
    rest, last = name.removeprefix("_ZN"), name
    while rest != name and (found := re.match(r"\d+", rest)):
        last, rest = rest[found.end() :][: int(found[0])], rest[found.end() + int(found[0]) :]
    return last


def _launch(
    module: Module,
    kernel: Kernel,
    grid: Extent,
    block: Extent,
    dynamic_shared: int,
    parameters: Sequence[bytes],
    memory: Memory,
    check: bool,
) -> None:
    _check_shape(kernel, grid, block, kernel.shared_bytes + dynamic_shared)
    packed = _packed(kernel, parameters)
    symbols = {**kernel.symbols, **module.load(memory)}
    per_block = block[0] * block[1] * block[2]
    clock = _clocks.setdefault(memory, Clock())
    start = clock.begin(memory.spaces)
    blocks = grid[0] * grid[1] * grid[2]
    step = max(1, THREADS // per_block)
    with np.errstate(all="ignore"):
        for first in range(0, blocks, step):
            part = range(first, min(first + step, blocks))
            with frame_for(kernel, memory, part, grid, block, packed, symbols, dynamic_shared) as frame:
                frame.checked = check
                if check:
                    frame.races = RaceDetector(clock, frame, start)
                _begin(frame)
                _Scheduler(kernel, frame).run()


def _begin(frame: Frame) -> None:
    """Nothing is under way, nobody waits."""
    frame.copies, frame.products, frame.bulk_copies = AsyncCopies(frame), AsyncProducts(frame), BulkCopies(frame)
    frame.mbarriers, frame.named_barriers = MBarriers(frame), NamedBarriers(frame)
    frame.register_pool = RegisterPool(frame)
    frame.woken = False


def _check_shape(kernel: Kernel, grid: Extent, block: Extent, shared: int) -> None:
    threads = block[0] * block[1] * block[2]
    if not 0 < threads <= min(1024, kernel.max_threads):
        raise Fault(f"{threads} threads in a block, of at most {min(1024, kernel.max_threads)}", "launch")
    if min(grid) < 1 or grid[0] >= 1 << 31 or max(grid[1:]) > 65535:
        raise Fault(f"a grid of {grid} blocks", "launch")
    if shared > SHARED_LIMIT:
        raise Fault(f"{shared:,} bytes of shared memory, of at most {SHARED_LIMIT:,}", "launch")


def _packed(kernel: Kernel, parameters: Sequence[bytes]) -> Array:
    if len(parameters) != len(kernel.parameters):
        raise Fault(f"{len(parameters)} parameters are given, it takes {len(kernel.parameters)}")
    size = max((one.offset + one.size for one in kernel.parameters), default=0)
    packed = np.zeros(-(-size // 8) * 8, np.uint8)
    for one, value in zip(kernel.parameters, parameters, strict=True):
        if len(value) != one.size:
            raise Fault(f"parameter {one.name} has {one.size} bytes, {len(value)} are given")
        packed[one.offset : one.offset + one.size] = np.frombuffer(value, np.uint8)
    return packed


class _Scheduler:
    """Runs a frame's threads from entry to the last exit.

    ``ready`` and ``waiting`` map basic blocks to the threads that are to run them, or wait at them to converge.
    """

    def __init__(self, kernel: Kernel, frame: Frame) -> None:
        self.kernel, self.frame = kernel, frame
        self.ready: dict[int, _Mask] = {0: None}
        self.waiting: dict[int, Array] = {}
        self.alive = np.ones(frame.count, bool)

    def run(self) -> None:
        """Run all threads; Fault on deadlock. Asynchronous loads land only when no thread can go on."""
        while self.ready or self.frame.bulk_copies.land():
            if self.frame.woken:
                self._wake()
            if not self.ready:
                continue
            number = min(self.ready)
            mask = self.ready.pop(number)
            code = self.kernel.basic_blocks[number]
            if code.barrier is not None:
                self._barrier(number, code, mask)
            elif code.collective is not None:
                self._converge(number, code, mask)
            else:
                self._execute(number, code, mask)
        if self.waiting:
            raise deadlock(self.frame, self.kernel.basic_blocks, self.waiting)
        self.frame.bulk_copies.finish()

    def _wake(self) -> None:
        """What parked threads wait for may have come."""
        self.frame.woken = False
        for number in sorted(self.waiting):
            code = self.kernel.basic_blocks[number]
            if code.collective is not None and may_park(code.collective):
                self._park(number, code, self.waiting.pop(number))

    def _execute(self, number: int, code: BasicBlock, mask: _Mask) -> None:
        frame = self.frame
        whole, masked = frame.bound.get(number) or self._bind(number, code)
        if mask is None:
            frame.lanes = None
            self._run(code, whole)
        else:
            np.copyto(frame.mask, mask)
            frame.lanes = np.flatnonzero(mask)
            self._run(code, masked)
        self._branch(number, code, mask)

    def _run(self, code: BasicBlock, steps: list[Step]) -> None:
        if not self.kernel.asynchronous:
            for step in steps:
                step()
            return
        self.frame.products.enter()
        for (ins, _), names, step in zip(code.instructions, code.names, steps, strict=True):
            self.frame.products.use(ins, names)
            step()

    def _bind(self, number: int, code: BasicBlock) -> tuple[list[Step], list[Step]]:
        steps = []
        if self.kernel.asynchronous and not code.names:
            code.names = [registers(ins) for ins, _ in code.instructions]
        for ins, bind in code.instructions:
            try:
                steps.append(bind(self.frame))
            except (TypeError, KeyError) as error:
                raise ins.fault(str(error)) from error
        self.frame.bound[number] = [whole for whole, _ in steps], [masked for _, masked in steps]
        return self.frame.bound[number]

    def _branch(self, number: int, code: BasicBlock, mask: _Mask) -> None:
        """Follow the terminator."""
        end = code.terminator
        if end is None:
            if number + 1 == len(self.kernel.basic_blocks):
                self._exit(mask)
            else:
                self._schedule(number + 1, mask)
            return
        taken, others = self._split(end, mask)
        if taken is not False:
            if end.name == "bra":
                self._schedule(self._target(end), taken)
            elif end.name == "trap":
                raise end.fault("traps", thread=self.frame.thread_name(self._first(taken)))
            else:
                self._exit(taken)
        if others is not False:
            self._schedule(number + 1, others)

    def _split(self, end: Any, mask: _Mask) -> tuple[_Mask | bool, _Mask | bool]:
        """Threads that take a branch, and those that fall through; False for none."""
        if end.guard is None:
            return mask, False
        name, wanted = end.guard
        predicate = self.frame.register(name)
        if mask is None:
            count = int(np.count_nonzero(predicate))
            if count in (0, self.frame.count):
                return (None, False) if bool(count) == wanted else (False, None)
            return (predicate.copy(), ~predicate) if wanted else (~predicate, predicate.copy())
        taken = mask & predicate if wanted else mask & ~predicate
        others = mask & ~taken
        return (taken if taken.any() else False), (others if others.any() else False)

    def _target(self, end: Any) -> int:
        target = end.operands[0]
        if not isinstance(target, Symbol) or target.name not in self.kernel.targets:
            raise end.fault("jumps to no label of the kernel")
        return self.kernel.targets[target.name]

    def _schedule(self, number: int, mask: Any) -> None:
        if number not in self.ready:
            self.ready[number] = mask
            return
        before = self.ready[number]
        assert before is not None and mask is not None
        both = before | mask
        self.ready[number] = None if both.all() else both

    def _exit(self, mask: Any) -> None:
        if mask is None:
            self.alive[:] = False
        else:
            self.alive &= ~mask

    def _arrive(self, number: int, mask: _Mask) -> Array:
        parked = self.waiting.pop(number, None)
        mine = np.ones(self.frame.count, bool) if mask is None else mask
        return mine if parked is None else parked | mine

    def _barrier(self, number: int, code: BasicBlock, mask: _Mask) -> None:
        """Release the thread blocks whose live threads have all arrived at a barrier of that name."""
        assert code.barrier is not None
        self.waiting[number] = self._arrive(number, mask)
        name = barrier_name(code.barrier)
        here = [place for place in self.waiting if barrier_name(self.kernel.basic_blocks[place].barrier) == name]
        arrived = np.logical_or.reduce([self.waiting[place] for place in here])
        blocks = arrived.reshape(-1, self.frame.per_block)
        done = (blocks == self.alive.reshape(blocks.shape)).all(axis=1) & blocks.any(axis=1)
        if not done.any():
            return
        self._check_whole(code, blocks[done], done)
        free = np.repeat(done, self.frame.per_block)
        if self.frame.checked:
            self.frame.races.barrier(np.flatnonzero(free))
        for place in here:
            self._release(place, free, place + 1)

    def _release(self, place: int, free: Array, target: int) -> None:
        parked = self.waiting.pop(place)
        going, staying = parked & free, parked & ~free
        if staying.any():
            self.waiting[place] = staying
        if going.any():
            self._schedule(target, None if going.all() else going)

    def _check_whole(self, code: BasicBlock, blocks: Array, done: Array) -> None:
        """Fault where threads of a block have exited: the barrier still counts them."""
        if not blocks.all():
            assert code.barrier is not None
            block, thread = (int(place[0]) for place in np.nonzero(~blocks))
            thread += int(np.flatnonzero(done)[block]) * self.frame.per_block
            words = "has ended, others of its block are at a barrier"
            raise code.barrier.fault(words, "barrier", self.frame.thread_name(thread))

    def _converge(self, number: int, code: BasicBlock, mask: _Mask) -> None:
        """Run a collective instruction with the lanes that have converged."""
        assert code.collective is not None
        if may_park(code.collective):
            self._park(number, code, self._arrive(number, mask))
            return
        if mask is None:
            self._execute(number, code, mask)
            return
        parked = self._arrive(number, mask)
        self._split_parked(number, code, parked, converged_lanes(self.frame, code.collective, parked, self.alive))

    def _park(self, number: int, code: BasicBlock, parked: Array) -> None:
        """Run an instruction with those of its threads that need not wait."""
        assert code.collective is not None
        self._split_parked(number, code, parked, going_lanes(self.frame, code.collective, parked))

    def _split_parked(self, number: int, code: BasicBlock, parked: Array, going: Array) -> None:
        staying = parked & ~going
        if staying.any():
            self.waiting[number] = staying
        if going.any():
            self._execute(number, code, None if going.all() else going)

    def _first(self, mask: Any) -> int:
        return 0 if mask is None else int(np.flatnonzero(mask)[0])
