"""Instructions for which threads may have to wait until others have done something, and when they may go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from netspec.emulate.fault import Kind
from netspec.emulate.frame import Frame
from netspec.emulate.instructions import mbarrier, named_barriers, register_pool
from netspec.emulate.memory import Array
from netspec.emulate.ptx.syntax_tree import Instruction

Is = Callable[[Instruction], bool]
Going = Callable[[Frame, Instruction, Array], Any]
Words = Callable[[Frame, Instruction], str]
_WAITS: tuple[tuple[Is, Going, Words, Kind], ...] = (
    (mbarrier.is_wait, mbarrier.lanes_awaited, mbarrier.lacking, "mbarrier"),
    (named_barriers.is_named, named_barriers.lanes_released, named_barriers.lacking, "barrier"),
    (register_pool.is_increase, register_pool.lanes_served, register_pool.lacking, "registers"),
)


def may_park(ins: Instruction) -> bool:
    """Whether threads may have to wait for it; Fault where only some of them would, by a guard."""
    if not any(is_one(ins) for is_one, *_ in _WAITS):
        return False
    if ins.guard is not None:
        raise ins.fault("an instruction that may wait, with a guard, is not known here")
    return True


def going_lanes(frame: Frame, ins: Instruction, parked: Array) -> Any:
    """Which of the threads that wait for it may go on."""
    return next(going for is_one, going, *_ in _WAITS if is_one(ins))(frame, ins, parked)


def missing(frame: Frame, ins: Instruction, parked: Array) -> tuple[str, Kind]:
    """What threads that wait for it lack, when nobody goes on any more."""
    frame.lanes = np.flatnonzero(parked)
    return next((words(frame, ins), kind) for is_one, _, words, kind in _WAITS if is_one(ins))
