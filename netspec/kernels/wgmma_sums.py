"""Intrinsics that store the sums of Hopper's matrix instruction (netspec.kernels.wgmma) from registers, in float32.

``store_float32(columns)`` makes ``store(place, pitch, sums, first, second, inside)``: a thread's sums, of a row and of
the one 8 rows on, two neighbouring columns at a time, which the four threads of a row make 32 bytes of memory.
``place`` (uint64) is the address of the first sum, ``pitch`` the bytes between those two rows; ``first`` and ``second``
(uint32) tell whether there is such a row, ``inside`` (int32) how many columns there are: a multiple of 8, or more than
enough. Nothing else is written.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from netspec.kernels.inline_ptx import asm, unpack, void
from netspec.kernels.numba_cuda import named_intrinsic, types

_STORE = "{ .reg .pred p; setp.ne.b32 p, $3, 0; @p st.global.v2.f32 [$0], {$1, $2}; }"
_WORD = ir.IntType(64)


@cache
def store_float32(columns: int) -> Any:
    """See above."""
    count = columns // 2

    def define(_, place, pitch, sums, first, second, inside):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            place, pitch, _, first, second, inside = args
            values = unpack(builder, args[2], count)
            for number in range(0, count, 2):
                column, is_second = 8 * (number // 4), number // 2 % 2
                there = builder.zext(builder.icmp_signed(">", inside, inside.type(column)), first.type)
                row = builder.and_(second if is_second else first, there)
                at = builder.add(place, _WORD(4 * column))
                at = builder.add(at, pitch) if is_second else at
                asm(builder, _STORE, void, [at, *values[number : number + 2], row], "l,f,f,r,~{memory}", moves=False)
            return context.get_dummy_value()

        whole = types.UniTuple(types.float32, count)
        return types.void(types.uint64, types.uint64, whole, types.uint32, types.uint32, types.int32), generate

    return named_intrinsic(define, "store_float32", columns)
