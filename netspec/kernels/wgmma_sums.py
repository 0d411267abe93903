"""Intrinsics beside Hopper's matrix instruction (wgmma_products.py): stores of its sums, and sums of an operand.

``store_float32(columns)`` makes ``store(first, second, sums, in_first, in_second, inside)``: a thread's sums of two
rows, each with the address (uint64) of its first one; four threads write 32 bytes of a row together. ``in_first`` and
``in_second`` tell whether there is such a row, ``inside`` (int32) how many columns there are: a multiple of 8, or more
than the tile's.

``add_lines(count)`` makes ``add_lines(place, a, b)``: with a and b, the sums of two neighbouring bfloat16 of so many
lines of 128 bytes, swizzled as TMA writes them. ``place`` (uint32) is those of the first line, a multiple of 8 lines
from the box's start.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from netspec.kernels.inline_ptx import asm, float32, pack, uint32, unpack, void
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


@cache
def add_lines(count: int) -> Any:
    """See above."""

    def define(_, place, a, b):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            pairs = [_pair(builder, args[0], line) for line in range(count)]
            sums = [builder.fadd(args[1 + side], _tree(builder, [pair[side] for pair in pairs])) for side in (0, 1)]
            return pack(context, builder, signature, sums)

        kind = types.UniTuple(types.float32, 2)
        return kind(types.uint32, types.float32, types.float32), generate

    return named_intrinsic(define, "add_lines", count)


def _pair(builder: Any, place: Any, line: int) -> tuple[Any, Any]:
    """Two neighbours of a line as float32."""
    at = builder.add(builder.xor(place, uint32(line % 8 << 4)), uint32(128 * line))
    both = asm(builder, "ld.shared.b32 $0, [$1];", uint32, [at], "=r,r,~{memory}", moves=False)
    low, high = builder.shl(both, uint32(16)), builder.and_(both, uint32(0xFFFF0000))
    return builder.bitcast(low, float32), builder.bitcast(high, float32)


def _tree(builder: Any, values: list[Any]) -> Any:
    """The sum of a power of two of numbers."""
    while len(values) > 1:
        values = [builder.fadd(*values[number : number + 2]) for number in range(0, len(values), 2)]
    return values[0]
