"""Instructions for which threads may have to wait until others have done something, and when they may go on."""

from __future__ import annotations

from typing import Any

from netspec.emulate.fault import Fault
from netspec.emulate.frame import Frame
from netspec.emulate.instructions import mbarrier, named_barriers, register_pool
from netspec.emulate.memory import Array
from netspec.emulate.ptx.syntax_tree import Instruction

_WAITS = (
    (mbarrier.is_wait, mbarrier.lanes_awaited, mbarrier.never_completes),
    (named_barriers.is_named, named_barriers.lanes_released, named_barriers.never_released),
    (register_pool.is_increase, register_pool.lanes_served, register_pool.never_served),
)


def may_park(ins: Instruction) -> bool:
    """Whether threads may have to wait for it; Fault where only some of them would, by a guard."""
    if not any(is_one(ins) for is_one, _, _ in _WAITS):
        return False
    if ins.guard is not None:
        raise ins.fault("an instruction that may wait, with a guard, is not known here")
    return True


def going_lanes(frame: Frame, ins: Instruction, parked: Array) -> Any:
    """Which of the threads that wait for it may go on."""
    return next(going for is_one, going, _ in _WAITS if is_one(ins))(frame, ins, parked)


def deadlock(frame: Frame, ins: Instruction, parked: Array) -> Fault:
    """The fault of threads that wait for what nobody does any more."""
    return next(fault for is_one, _, fault in _WAITS if is_one(ins))(frame, ins, parked)
