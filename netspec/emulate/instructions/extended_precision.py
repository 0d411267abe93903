"""Extended-precision integer arithmetic (PTX ISA 9.7.2): add, sub and mad with carry in and out."""

from __future__ import annotations

from typing import Any

import numpy as np

from netspec.emulate.frame import Bind, Frame, Steps
from netspec.emulate.ptx.syntax_tree import SIZES, Instruction

CARRYING = ("addc", "subc", "madc")
_CARRY = "%cc"


def carrying(ins: Instruction) -> Bind:
    """``add.cc``, ``addc``, ``sub.cc``, ``subc``, ``mad.lo.cc``, ``madc.hi`` and such."""
    *modes, kind = ins.modifiers
    sets, takes = "cc" in modes, ins.name in CARRYING
    name = ins.name.removesuffix("c")
    halves = [mode for mode in modes if mode != "cc"]
    if (
        SIZES[kind] != 4
        or halves not in ([["lo"], ["hi"]] if name == "mad" else [[]])
        or (kind[0] == "s" and halves == ["hi"])
    ):
        raise ValueError(ins.opcode)

    def bind(frame: Frame) -> Steps:
        sources = [frame.read(one, "u32") for one in ins.operands[1:]]
        target, carry = frame.write(ins.operands[0], "u32"), frame.flag(_CARRY)

        def run(where: Any) -> None:
            a, b, *more = (one.astype(np.int64) for one in sources)
            taken = carry.astype(np.int64) if takes else 0
            if name == "mad":
                product = sources[0].astype(np.uint64) * sources[1]
                a = (product >> np.uint64(32 if halves == ["hi"] else 0) & np.uint64(0xFFFFFFFF)).astype(np.int64)
                (b,) = more
            total = a - b - taken if name == "sub" else a + b + taken
            np.copyto(target, (total & 0xFFFFFFFF).astype(np.uint32), where=where)
            if sets:
                np.copyto(carry, (total < 0) | (total > 0xFFFFFFFF), where=where)

        return lambda: run(True), lambda: run(frame.mask)

    return bind
