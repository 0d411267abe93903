"""A thread's share of a block tile without tensor cores: operands from shared memory, fused multiply-adds, sums back.

Operands lie in shared memory in the orders of netspec.kernels.warp_tiles, a stage of ``BLOCK_K`` terms at a time. A
tile's threads form a grid, ``apart`` of them along either edge; the one at ``place`` along an edge has the lines

- place + apart * i ("lines"), of each of which it loads four terms at once, or
- 4 * place + 4 * apart * (i // 4) + i % 4 ("terms"), four neighbours, of which it loads one term at once,

and a sum for each pair of them, those of a row side by side: float32, one rounding a term.
"""

from __future__ import annotations

from functools import cache
from itertools import product as combinations
from typing import Any

from netspec.kernels.inline_ptx import as_vector, int64, pack, pointer, uint32, unpack, vector_pointer
from netspec.kernels.numba_cuda import named_intrinsic, types
from netspec.kernels.warp_tiles import BLOCK_K, Order, line_at

_Load = tuple[int, int, tuple[tuple[int, int], ...]]


def origin(order: Order, place: int) -> int:
    """Where a thread's loads of an operand begin, see ``loads``."""
    return line_at(place, 0) if order == "lines" else 4 * place


def loads(order: Order, count: int, apart: int, width: int, step: int) -> tuple[_Load, ...]:
    """Loads of 128 bits of four terms of ``count`` lines: index is ``(origin ^ swizzle) + offset``, for each swizzle
    and offset, and the term and the line of each value."""
    if order == "lines":
        lines = range(count)
        return tuple((4 * step, apart * BLOCK_K * i, tuple((term, i) for term in range(4))) for i in lines)
    return tuple(
        (8 * term, (4 * step + term) * width + 4 * apart * four, tuple((term, 4 * four + e) for e in range(4)))
        for term, four in combinations(range(4), range(count // 4))
    )


def sum_places(order: Order, right: Order, columns: int, grid: tuple[int, int], pitch: int) -> tuple[int, ...]:
    """Offsets of the sums of four rows of a thread in rows of ``pitch`` elements."""
    down = [grid[0] * i if order == "lines" else i for i in range(4)]
    across = [grid[1] * j if right == "lines" else 4 * grid[1] * (j // 4) + j % 4 for j in range(columns)]
    return tuple(row * pitch + column for row, column in combinations(down, across))


@cache
def add_products(left: Order, right: Order, counts: tuple[int, int], grid: tuple[int, int]) -> Any:
    """``add_products(array, a, b, sums)``: the sums with the products of one stage added.

    ``a`` and ``b`` are where the operands' loads begin: their origins and a multiple of 32, which swizzles leave as it
    is. ``counts`` are a thread's rows and columns.
    """
    width = counts[0] * grid[0], counts[1] * grid[1]

    def define(_, array, a, b, sums):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            def load(side: int, order: Order, step: int) -> dict[tuple[int, int], Any]:
                found = loads(order, counts[side], grid[side], width[side], step)
                return _load(context, builder, signature, args, side, found)

            total = unpack(builder, args[3], counts[0] * counts[1])
            for step in range(BLOCK_K // 4):
                rows, columns = load(0, left, step), load(1, right, step)
                for (term, i), j in combinations(rows, range(counts[1])):
                    at = i * counts[1] + j
                    total[at] = builder.fma(rows[term, i], columns[term, j], total[at])
            return pack(context, builder, signature, total)

        whole = types.UniTuple(types.float32, counts[0] * counts[1])
        return whole(array, types.int32, types.int32, whole), generate

    return named_intrinsic(define, "add_products", left, right, *counts, *grid)


def _load(
    context: Any, builder: Any, signature: Any, args: Any, side: int, found: tuple[_Load, ...]
) -> dict[tuple[int, int], Any]:
    """Generate loads of an operand: values by term and line."""
    values: dict[tuple[int, int], Any] = {}
    for swizzle, offset, parts in found:
        start = builder.sext(builder.xor(args[1 + side], uint32(swizzle)), int64)
        place = builder.gep(pointer(context, builder, signature.args[0], args[0], start), [int64(offset)])
        values.update(zip(parts, unpack(builder, builder.load(as_vector(builder, place, 4), align=16), 4), strict=True))
    return values


@cache
def store(order: Order, right: Order, counts: tuple[int, int], grid: tuple[int, int], pitch: int) -> Any:
    """``store(array, index, part, sums)``: four rows of a thread, those from 4 * part on, to rows of ``pitch``."""
    places = sum_places(order, right, counts[1], grid, pitch)

    def define(_, array, index, part, sums):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            total, size = unpack(builder, args[3], counts[0] * counts[1]), 4 * counts[1]
            chosen = total[:size]
            for number in range(1, counts[0] // 4):
                here = builder.icmp_signed("==", args[2], args[2].type(number))
                own = total[number * size : (number + 1) * size]
                chosen = [builder.select(here, one, other) for one, other in zip(own, chosen, strict=True)]
            wide = 1 if right == "lines" else 4
            for first in range(0, size, wide):
                place = builder.add(args[1], args[1].type(places[first]))
                target = vector_pointer(context, builder, signature.args[0], args[0], place, wide)
                value = target.type.pointee(None)
                for number in range(wide):
                    value = builder.insert_element(value, chosen[first + number], uint32(number))
                builder.store(value, target, align=4 * wide)
            return context.get_dummy_value()

        whole = types.UniTuple(types.float32, counts[0] * counts[1])
        return types.void(array, types.int64, types.int64, whole), generate

    return named_intrinsic(define, "store", order, right, *counts, *grid, pitch)
