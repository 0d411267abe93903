"""What is told of threads that wait for what nobody does any more."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from netspec.emulate.fault import Fault, Kind, Site
from netspec.emulate.frame import Frame
from netspec.emulate.instructions.parking import may_park, missing
from netspec.emulate.memory import Array
from netspec.emulate.module import BasicBlock
from netspec.emulate.ptx.syntax_tree import Instruction

_ROOTS = {"setmaxnreg": 0, "mbarrier": 1}
"""What is told first, as others wait because of it."""


def deadlock(frame: Frame, basic_blocks: list[BasicBlock], waiting: Mapping[int, Array]) -> Fault:
    """The fault of threads that wait, by preference for registers or at an mbarrier, and where all others are.

    ``waiting`` maps basic blocks to the threads that wait at them.
    """
    waits = [(_instruction(basic_blocks[number]), waiting[number]) for number in sorted(waiting)]
    waits.sort(key=lambda one: _ROOTS.get(one[0].name, len(_ROOTS)))
    (ins, mask), *others = waits
    words, kind = _lack(frame, ins, mask)
    told = [_told(frame, one, mask) for one, mask in others]
    tail = f"; others wait too: {'; '.join(told)}" if told else "; others have ended"
    thread = frame.thread_name(int(np.flatnonzero(mask)[0]))
    sites = tuple(Site(one.line, _threads(frame, mask)) for one, mask in others)
    parked = [f"{_threads(frame, mask)}: {missing(frame, one, mask)[0]}" for one, mask in others if may_park(one)]
    return ins.fault(words + tail, kind, thread, others=sites, words="; ".join((words, *parked)))


def _instruction(code: BasicBlock) -> Instruction:
    ins = code.barrier or code.collective
    assert ins is not None
    return ins


def _lack(frame: Frame, ins: Instruction, mask: Array) -> tuple[str, Kind]:
    if may_park(ins):
        return missing(frame, ins, mask)
    if ins.name in ("bar", "barrier") and "warp" not in ins.modifiers:
        return "waits for threads of its block that never come", "barrier"
    return "waits for lanes of its warp that never come", "lanes"


def _told(frame: Frame, ins: Instruction, mask: Array) -> str:
    lack = f" ({missing(frame, ins, mask)[0]})" if may_park(ins) else ""
    return f"{_threads(frame, mask)} at line {ins.line}: {ins.text}{lack}"


def _threads(frame: Frame, mask: Array) -> str:
    """``threads 32 to 63 of block 0``: the first block's, from the first to the last."""
    lanes = np.flatnonzero(mask)
    block = int(frame.block[lanes[0]])
    own = frame.thread[lanes[frame.block[lanes] == block]]
    span = f"thread {own[0]}" if len(own) == 1 else f"threads {own[0]} to {own[-1]}"
    return f"{span} of block {block + frame.blocks.start}"
