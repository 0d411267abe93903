"""Dispatch table from opcodes to semantics; what is not in it is refused when a module is parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netspec.emulate.frame import Bind
from netspec.emulate.instructions import (
    atomics,
    convert,
    cp_async,
    fences,
    floats,
    integers,
    load_store,
    logic,
    mbarrier,
    mma,
    named_barriers,
    register_pool,
    warp,
    wgmma,
)
from netspec.emulate.ptx.syntax_tree import Instruction

Define = Callable[[Instruction], Bind]
"""Decodes an instruction's modifiers and operands; Fault for those that are not implemented."""

_BY_NAME: Mapping[str, Define] = {
    **{name: integers.arithmetic for name in integers.NAMES},
    **{name: floats.arithmetic for name in floats.NAMES},
    **logic.DEFINITIONS,
    "cvt": convert.convert,
    "ld": load_store.load,
    "ldu": load_store.load,
    "st": load_store.store,
    "atom": atomics.atomic,
    "red": atomics.atomic,
    "cp": cp_async.asynchronous,
    "mma": mma.multiply,
    "ldmatrix": mma.load_matrices,
    "stmatrix": mma.store_matrices,
    "shfl": warp.shuffle,
    "vote": warp.vote,
    "elect": warp.elect,
    "bar": named_barriers.barrier,
    "barrier": named_barriers.barrier,
    "mbarrier": mbarrier.mbarrier,
    "wgmma": wgmma.asynchronous,
    "setmaxnreg": register_pool.set_registers,
    "fence": fences.fence,
}


def binding(ins: Instruction) -> Bind:
    """The instruction's semantics, to be bound to a frame; Fault where it is not implemented."""
    if ins.name not in _BY_NAME:
        raise ins.fault(f"instruction '{ins.opcode}' is not known to the emulator")
    define = _BY_NAME[ins.name]
    if ins.name in integers.NAMES and ins.modifiers and ins.modifiers[-1] in floats.TYPES:
        define = floats.arithmetic
    try:
        return define(ins)
    except (AssertionError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ins.fault(f"instruction '{ins.opcode}' is not known in this form ({error})") from error
