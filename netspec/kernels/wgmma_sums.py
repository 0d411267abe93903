"""Intrinsics that store the sums of Hopper's matrix instruction (netspec.kernels.wgmma) as float32, from registers.

``store_float32(columns)`` makes ``store(first, second, sums, in_first, in_second, inside)``: a thread's sums of two
rows, each with the address (uint64) of its first one; four threads write 32 bytes of a row together. ``in_first`` and
``in_second`` tell whether there is such a row, ``inside`` (int32) how many columns there are: a multiple of 8, or more
than the tile's.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from netspec.kernels.inline_ptx import asm, uint32, unpack, void
from netspec.kernels.numba_cuda import named_intrinsic, types

_STORE = "{ .reg .pred p; setp.ne.b32 p, $3, 0; @p st.global.v2.f32 [$0], {$1, $2}; }"
_WORD = ir.IntType(64)


@cache
def store_float32(columns: int) -> Any:
    """See above."""
    count = columns // 2

    def define(_, first, second, sums, in_first, in_second, inside):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            values, inside = unpack(builder, args[2], count), args[5]
            for number in range(0, count, 2):
                row, column = number // 2 % 2, 8 * (number // 4)
                there = builder.and_(args[3 + row], builder.icmp_signed(">", inside, inside.type(column)))
                place = builder.add(args[row], _WORD(4 * column))
                parts = [place, *values[number : number + 2], builder.zext(there, uint32)]
                asm(builder, _STORE, void, parts, "l,f,f,r,~{memory}", moves=False)
            return context.get_dummy_value()

        whole = types.UniTuple(types.float32, count)
        kinds = (types.uint64, types.uint64, whole, types.boolean, types.boolean, types.int32)
        return types.void(*kinds), generate

    return named_intrinsic(define, "store_float32", columns)
