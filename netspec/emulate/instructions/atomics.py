"""Atomic operations, atom and red (PTX ISA 9.7.13.6), in the order of threads.

On hardware the order is unspecified: sums of floats may differ there in their last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from netspec.emulate.frame import DTYPES, Bind, Frame, Steps
from netspec.emulate.instructions.load_store import check, resolved
from netspec.emulate.memory import Array
from netspec.emulate.ptx.operands import Address
from netspec.emulate.ptx.syntax_tree import SIZES, Instruction

_ORDERS = {"relaxed", "acquire", "release", "acq_rel", "cta", "gpu", "sys", "noftz"}
_SPACES = {"global", "shared", "shared::cta"}


def _increment(old: Any, limit: Any) -> Any:
    return old * 0 if old >= limit else old + old.dtype.type(1)


def _decrement(old: Any, limit: Any) -> Any:
    return limit if old == 0 or old > limit else old - old.dtype.type(1)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "exch": lambda old, new: new,
    "cas": lambda old, expected, new: new if old == expected else old,
    "inc": _increment,
    "dec": _decrement,
}


def atomic(ins: Instruction) -> Bind:
    """``atom.space.operation.type d, [a], b, c``, and ``red`` without d."""
    words = [word for word in ins.modifiers if word not in _ORDERS]
    space = words.pop(0).partition("::")[0] if words[0] in _SPACES else ""
    operation, kind = words
    function = _FUNCTIONS[operation]
    operands = ins.operands if ins.name == "red" else ins.operands[1:]
    address = operands[0]
    assert isinstance(address, Address) and kind in DTYPES and SIZES[kind] in (4, 8)

    def bind(frame: Frame) -> Steps:
        target = frame.write(ins.operands[0], kind) if ins.name == "atom" else np.empty(frame.count, DTYPES[kind])
        sources = [np.broadcast_to(frame.read(one, kind), (frame.count,)) for one in operands[1:]]
        addresses = frame.addresses(address)

        def run() -> None:
            for access in resolved(frame, space, addresses(), frame.lanes, SIZES[kind], ins):
                rows = check(frame, access, SIZES[kind], ins, reads=True)
                if frame.checked:
                    frame.races.atomic(access.space, SIZES[kind], rows, access.lanes, ins.line)
                lanes = np.arange(frame.count) if access.lanes is None else access.lanes
                data = access.space.words(SIZES[kind], DTYPES[kind])
                target[lanes] = _one_by_one(function, data, rows, [one[lanes] for one in sources])

        return run, run

    return bind


def _one_by_one(function: Callable[..., Any], data: Array, rows: Array, sources: list[Array]) -> Array:
    before = np.empty(len(rows), data.dtype)
    for number, row in enumerate(rows.tolist()):
        before[number] = old = data[row]
        data[row] = function(old, *(one[number] for one in sources))
    return before
