"""Which function gives an instruction its meaning. What is not among them is refused when a module is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netspec.emulate import access, atomics, convert, copies, floats, integers, logic, matrices, warp, warpgroups
from netspec.emulate.frame import Bind
from netspec.emulate.syntax import Instruction

Define = Callable[[Instruction], Bind]
"""Reads an instruction's modifiers and operands; Fault for those that it does not know."""

_BY_NAME: Mapping[str, Define] = {
    **{name: integers.arithmetic for name in integers.NAMES},
    **{name: floats.arithmetic for name in floats.NAMES},
    **logic.DEFINITIONS,
    "cvt": convert.convert,
    "ld": access.load,
    "ldu": access.load,
    "st": access.store,
    "atom": atomics.atomic,
    "red": atomics.atomic,
    "cp": copies.asynchronous,
    "mma": matrices.multiply,
    "ldmatrix": matrices.load_matrices,
    "shfl": warp.shuffle,
    "vote": warp.vote,
    "bar": warp.barrier,
    "wgmma": warpgroups.asynchronous,
    "fence": warpgroups.fence,
}


def binding(ins: Instruction) -> Bind:
    """What the instruction does, for any frame; Fault where it is not known."""
    if ins.name not in _BY_NAME:
        raise ins.fault(f"instruction '{ins.opcode}' is not known to the emulator")
    define = _BY_NAME[ins.name]
    if ins.name in integers.NAMES and ins.modifiers and ins.modifiers[-1] in floats.TYPES:
        define = floats.arithmetic
    try:
        return define(ins)
    except (AssertionError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ins.fault(f"instruction '{ins.opcode}' is not known in this form ({error})") from error
