"""setmaxnreg: warpgroups of a block share out its registers (PTX ISA 9.7.20.5).

A block begins with as many registers as ptxas gives each thread for its launch bounds. Whoever asks for more waits
until others have given up enough.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from netspec.emulate.frame import Bind, Frame, Steps
from netspec.emulate.instructions.warp import GROUP, by_warp
from netspec.emulate.memory import Array
from netspec.emulate.ptx.operands import Immediate
from netspec.emulate.ptx.syntax_tree import Instruction

_REGISTERS, _MOST, _STEP = 1 << 16, 255, 8


class RegisterPool:
    """Registers a thread of each warpgroup, and those of each block that none has."""

    def __init__(self, frame: Frame) -> None:
        limits = frame.kernel.limits
        blocks = limits.get("minnctapersm", (0,))[0]
        self.each = min(_REGISTERS // (blocks * frame.kernel.max_threads), _MOST) // _STEP * _STEP if blocks else 0
        """Registers a thread at the start; 0 where launch bounds do not say."""
        self.held = np.full(-(-frame.count // GROUP), self.each)
        self.free = np.zeros(len(frame.blocks), np.int64)


def set_registers(ins: Instruction) -> Bind:
    """``setmaxnreg.inc.sync.aligned.u32 n`` or ``.dec``: the active warpgroups' change is made."""
    (word, *rest), count = ins.modifiers, _asked(ins)
    assert word in ("inc", "dec") and rest == ["sync", "aligned", "u32"]
    if count % _STEP or not 24 <= count <= 256:
        raise ins.fault(f"{count} registers are no multiple of {_STEP} between 24 and 256")

    def bind(frame: Frame) -> Steps:
        def run() -> None:
            pool = frame.register_pool
            groups = np.unique(frame.active() // GROUP)
            _check(frame, ins, word, count, groups)
            before = pool.held[groups]
            np.add.at(pool.free, groups // (frame.per_block // GROUP), before - count)
            pool.held[groups] = count
            frame.woken = True

        return run, run

    return bind


def _asked(ins: Instruction) -> int:
    (number,) = ins.operands
    assert isinstance(number, Immediate)
    return int(number.value)


def _check(frame: Frame, ins: Instruction, word: str, count: int, groups: Array) -> None:
    pool = frame.register_pool
    if not pool.each:
        raise ins.fault("is ignored in a kernel without launch bounds of threads and blocks (maxntid, minnctapersm)")
    wrong = pool.held[groups] > count if word == "inc" else pool.held[groups] < count
    if wrong.any():
        group = int(groups[wrong.argmax()])
        than = f"{'more' if word == 'inc' else 'fewer'} than the {pool.held[group]} it has"
        raise ins.fault(f"{word}reases to {count} registers, {than}", thread=frame.thread_name(group * GROUP))


def is_increase(ins: Instruction) -> bool:
    """Whether it may have to wait for registers."""
    return ins.name == "setmaxnreg" and "inc" in ins.modifiers


def lanes_served(frame: Frame, ins: Instruction, parked: Array) -> Any:
    """Which of the waiting threads, whole warpgroups, can have the registers that they ask for, the first first."""
    pool, count = frame.register_pool, _asked(ins)
    going = np.zeros(frame.count, bool)
    free = pool.free.copy()
    for group in np.flatnonzero(by_warp(parked, frame.per_block, GROUP).all(axis=1)).tolist():
        block = group // (frame.per_block // GROUP)
        more = count - int(pool.held[group])
        if more <= free[block] or not pool.each:
            free[block] -= max(more, 0)
            going[group * GROUP : (group + 1) * GROUP] = True
    return going


def lacking(frame: Frame, ins: Instruction) -> str:
    """What the active threads wait for, of the first warpgroup of them."""
    pool, groups = frame.register_pool, frame.per_block // GROUP
    block = int(frame.active()[0]) // GROUP // groups
    held = ", ".join(str(one) for one in pool.held[block * groups : (block + 1) * groups])
    return (
        f"waits forever for {_asked(ins)} registers: of {pool.each} a thread at launch, times {groups} warpgroups, "
        f"these hold {held}, and {pool.free[block]} are free"
    )
