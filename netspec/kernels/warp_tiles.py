"""A warp's share of a block tile on tensor cores: fragments from shared memory, mma, accumulators back to it.

Operands lie in shared memory, ``BLOCK_K`` of the K dimension (a stage) at a time, in one of two orders: "lines", the
terms of a row side by side (K contiguous), or "terms", all rows of a term side by side. 16 bytes each are swizzled
within both (``line_at``, ``term_at``), so that the threads of a warp access different banks. Loads bring fragments in
the layout of mma: lines as 8 x 8 matrices (ldmatrix, which moves 32-bit elements as well as pairs of 16), terms two
neighbouring rows or one column at a time. Loads of 128 bits would be fewer, but cost two moves for each instruction.

Of operands that are bfloat16 in memory (precision "stored") two terms lie in an element's place: a stage has twice as
many, lines are as they were, and terms ("pairs", ``pair_at``) come as matrices too, which ldmatrix transposes.

A thread (``g`` = lane // 4, ``q`` = lane % 4) holds terms q, q + 4, q + 8 and q + 12 of

- rows 16 i + g + 8 h of the left operand's tile i ("lines"), or rows 16 i + 2 g + h ("terms"), h being the
  instruction's upper or lower half;
- column 8 j + g of the right operand's tile j; so its accumulators of a row are columns 8 j + 2 q and the next.

Values come as the instruction's registers: for tile i and half s of the terms 4 of the left operand, for tile j and s
2 of the right one, for i and j 4 accumulators. Of "stored" a register holds terms 2 q and 2 q + 1 of eight, and h is
the instruction's upper or lower half in either order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product as combinations
from typing import Any, Literal

from netspec.kernels.inline_ptx import (
    as_vector,
    convert_bf16x2,
    float32,
    int64,
    pack,
    pointer,
    uint32,
    unpack,
    vector_pointer,
)
from netspec.kernels.instructions import convert_tf32, load_matrices, multiply_add
from netspec.kernels.numba_cuda import named_intrinsic, types

Order = Literal["lines", "terms", "pairs"]
Precision = Literal["tf32", "bf16", "stored"]
Side = Literal["left", "right"]
_Values = list[Any]
_Steps = list[list[tuple[int, ...]]]
BLOCK_K = 16
"""Terms of the K dimension in a stage, or pairs of them."""
_TWICE = (range(2),) * 3


# Places in shared memory --------------------------------------------------------------------------------------------


def line_at(line: int, four: int) -> int:
    """Index of a float4 of a line's terms ("lines")."""
    return line * BLOCK_K + (four ^ line // 2 % 4) * 4


def term_at(term: int, four: int, width: int) -> int:
    """Index of a float4 of a term's ``width`` lines ("terms")."""
    return term * width + (four ^ term % 4 * 2) * 4


def pair_at(term: int, eight: int, width: int) -> int:
    """Index of eight of a term's ``width`` lines, two in an element's place ("pairs")."""
    return term * (width // 2) + (eight ^ term % 8) * 4


def pair_bases(side: Side, lane: int, first: int, width: int) -> tuple[int, int, int, int]:
    """``bases`` for "pairs", of a warp whose lines begin at the ``first`` eight of a term."""
    term, eight = (lane // 16 * 8 + lane % 8, lane // 8 % 2) if side == "left" else (lane % 16, lane // 16)
    a, b, c, d = (pair_at(term, first + 2 * n + eight, width) for n in range(4))
    return a, b, c, d


def bases(order: Order, side: Side, lane: int, width: int) -> tuple[int, int, int, int]:
    """First indices of a thread's loads, one for each swizzle; ``reads`` names one of them."""
    g, q = lane // 4, lane % 4
    if order == "lines" and side == "left":
        found = [line_at(lane % 16, 2 * s + lane // 16) for s in range(2)]
    elif order == "lines":
        found = [line_at(lane % 8, lane // 8)]
    elif side == "left":
        found = [term_at(q, 4 * i + g // 2, width) + g % 2 * 2 for i in range(2)]
    else:
        found = [term_at(q, 2 * j + g // 4, width) + g % 4 for j in range(4)]
    a, b, c, d = found * (4 // len(found))
    return a, b, c, d


def reads(order: Order, side: Side, tiles: int, width: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Registers that a load fills (4: ldmatrix), and base and offset of each load of a thread."""
    if order == "lines" and side == "left":
        return 4, tuple((s, 16 * BLOCK_K * i) for i, s in combinations(range(tiles), range(2)))
    if order == "lines":
        return 4, tuple((0, 8 * BLOCK_K * j) for j in range(tiles))
    if order == "pairs":  # 16 lines and 16 terms at a time
        blocks = tiles if side == "left" else tiles // 2
        return 4, tuple((n, 8 * width * s) for n, s in combinations(range(blocks), range(2)))
    apart, own = (2, 2) if side == "left" else (4, 1)
    fours = combinations(range(tiles), range(4))
    return own, tuple((tile % apart, 32 * (tile // apart) + 4 * width * four) for tile, four in fours)


def sum_places(order: Order, tiles: int, columns: int, pitch: int) -> tuple[tuple[int, int], ...]:
    """Offsets of pairs of accumulators in rows of ``pitch`` elements, and the first register of each."""
    places = combinations(range(tiles), range(2), range(columns))
    apart = 8 if order == "lines" else 1
    return tuple(((16 * i + apart * h) * pitch + 8 * j, (i * columns + j) * 4 + 2 * h) for i, h, j in places)


# Instructions -------------------------------------------------------------------------------------------------------


@cache
def zeros(count: int) -> Any:
    """``zeros()``: so many accumulators, zero."""

    def define(_):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return pack(context, builder, signature, [float32(0.0)] * count)

        return types.UniTuple(types.float32, count)(), generate

    return named_intrinsic(define, "zeros", count)


@cache
def load(order: Order, side: Side, tiles: int, width: int) -> Any:
    """``load(array, bases, at)``: a thread's fragments of one operand of the stage at index ``at``."""
    own, places = reads(order, side, tiles, width)
    option = ".trans" if order == "pairs" else ""

    def define(_, array, starts, at):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            given = [builder.sext(base, int64) for base in unpack(builder, args[1], 4)]
            origins = [pointer(context, builder, signature.args[0], args[0], base) for base in given]
            stage = [builder.gep(origin, [builder.sext(args[2], int64)]) for origin in origins]
            parts: list[Any] = []
            for base, distance in places:
                place = builder.gep(stage[base], [int64(distance)])
                if own == 4:
                    parts += [builder.bitcast(word, float32) for word in load_matrices(builder, place, option)]
                else:
                    parts += unpack(builder, builder.load(as_vector(builder, place, own), align=4 * own), own)
            if order == "pairs" and side == "right":  # two columns' tiles came together, half of the terms at a time
                parts = [parts[8 * n + 4 * s + 2 * j + k] for n, j, s, k in combinations(range(tiles // 2), *_TWICE)]
            return pack(context, builder, signature, parts)

        values = types.UniTuple(array.dtype, own * len(places))
        return values(array, types.UniTuple(types.int32, 4), types.int32), generate

    return named_intrinsic(define, "load", order, side, tiles, width)


@cache
def store(order: Order, tiles: int, columns: int, pitch: int) -> Any:
    """``store(array, index, sums)``: a thread's accumulators to rows of ``pitch`` elements."""
    places = sum_places(order, tiles, columns, pitch)
    count = 4 * tiles * columns

    def define(_, array, index, sums):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            parts = unpack(builder, args[2], count)
            for offset, first in places:
                place = builder.add(args[1], args[1].type(offset))
                target = vector_pointer(context, builder, signature.args[0], args[0], place, 2)
                value = target.type.pointee(None)
                for number in range(2):
                    value = builder.insert_element(value, parts[first + number], uint32(number))
                builder.store(value, target, align=8)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.UniTuple(types.float32, count)), generate

    return named_intrinsic(define, "store", order, tiles, columns, pitch)


@cache
def multiply(precision: Precision, tiles: int, columns: int) -> Any:
    """``multiply(a, b, sums)``: the accumulators with the products of one stage added."""
    counts = (8 * tiles, 4 * columns, 4 * tiles * columns)

    def define(_, a, b, sums):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            parts = [unpack(builder, whole, count) for whole, count in zip(args, counts, strict=True)]
            return pack(context, builder, signature, _products(builder, precision, tiles, columns, *parts))

        given = [types.UniTuple(types.float32, count) for count in counts]
        return given[2](*given), generate

    return named_intrinsic(define, "multiply", precision, tiles, columns)


_LEFT: dict[Precision, _Steps] = {
    "tf32": [[(0,), (1,), (2,), (3,)], [(4,), (5,), (6,), (7,)]],
    "bf16": [[(0, 2), (1, 3), (4, 6), (5, 7)]],
}
_RIGHT: dict[Precision, _Steps] = {"tf32": [[(0,), (1,)], [(2,), (3,)]], "bf16": [[(0, 1), (2, 3)]]}
"""A tile's values by the register that they are packed into, for each of its instructions."""
for _steps in (_LEFT, _RIGHT):
    _steps["stored"] = _steps["tf32"]


def _as_it_is(builder: Any, value: Any) -> Any:
    return builder.bitcast(value, uint32)


_CONVERT: dict[Precision, Callable[..., Any]] = {"tf32": convert_tf32, "bf16": convert_bf16x2, "stored": _as_it_is}
_INSTRUCTION: dict[Precision, str] = {"tf32": "tf32", "bf16": "bf16", "stored": "bf16"}


def _converted(builder: Any, precision: Precision, words: _Steps, values: _Values, tiles: int) -> list[Any]:
    """Generate an operand's conversions: registers by tile and instruction."""
    size, convert = len(values) // tiles, _CONVERT[precision]
    return [
        [[convert(builder, *(values[size * tile + part] for part in word)) for word in step] for step in words]
        for tile in range(tiles)
    ]


def _products(
    builder: Any, precision: Precision, tiles: int, columns: int, a: _Values, b: _Values, sums: _Values
) -> _Values:
    """Generate a stage's conversions and mma instructions; returns the accumulators."""
    left = _converted(builder, precision, _LEFT[precision], a, tiles)
    right = _converted(builder, precision, _RIGHT[precision], b, columns)
    results = list(sums)
    for step, i, j in combinations(range(len(_LEFT[precision])), range(tiles), range(columns)):
        at = (i * columns + j) * 4
        factors = left[i][step], right[j][step]
        results[at : at + 4] = multiply_add(builder, _INSTRUCTION[precision], *factors, results[at : at + 4])
    return results
