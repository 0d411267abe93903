"""A warp's share of a matrix product on tensor cores: fragments from shared memory, products, sums back to it.

Operands lie in shared memory 16 terms at a time, in one of two orders: "lines", 16 terms of a line side by side, or
"terms", all lines of a term side by side. A thread loads 128 bits at once and feeds what comes to the instructions as
it is. That permutes terms (in both operands alike), rows and columns, against the order of the instruction: a thread
(``g`` = lane // 4, ``q`` = lane % 4) holds terms 4 q to 4 q + 3 of

- rows 16 i + g + 8 h of the left operand's tile i ("lines"), or rows 32 (i // 2) + 4 g + 2 (i % 2) + h ("terms"),
  h being the instruction's upper or lower half;
- column 32 p + 4 g + j of the right operand, for the instruction's tile j of panel p of 32 columns; so its sums of a
  row are the neighbouring columns 32 p + 8 q to 32 p + 8 q + 7. In the order "lines" column 32 p + 4 g + j lies in line
  32 p + 8 j + g.

Each function here makes an intrinsic (its twin in the simulator) for so many row tiles of 16 and panels of 32 columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product as combinations
from typing import Any, Literal

from netspec.kernels import twins
from netspec.kernels.instructions import multiply_add
from netspec.kernels.numba_cuda import SIMULATOR, intrinsic, types
from netspec.kernels.ptx import asm, float32, pack, uint32, unpack, vector_pointer

Order = Literal["lines", "terms"]
Precision = Literal["tf32", "bf16"]


def _instruction(define: Callable[..., Any], twin: Callable[..., Any], *names: Any) -> Any:
    define.__name__ = define.__qualname__ = "_".join(map(str, names))
    return twins.Twin(define, twin) if SIMULATOR else intrinsic(define)


@cache
def zeros(count: int) -> Any:
    """``zeros()``: so many zeros, to start sums with."""

    def define(_):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return pack(context, builder, signature, [float32(0.0)] * count)

        return types.UniTuple(types.float32, count)(), generate

    return _instruction(define, lambda: (0.0,) * count, "zeros", count)


@cache
def load(offsets: tuple[int, ...]) -> Any:
    """``load(array, index)``: four elements from each of the places ``index + offset``, in a row."""

    def define(_, array, index):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            parts: list[Any] = []
            for offset in offsets:
                place = builder.add(args[1], args[1].type(offset))
                source = vector_pointer(context, builder, signature.args[0], args[0], place)
                parts += unpack(builder, builder.load(source, align=16), 4)
            return pack(context, builder, signature, parts)

        return types.UniTuple(array.dtype, 4 * len(offsets))(array, types.int64), generate

    def twin(array: Any, index: int) -> tuple[Any, ...]:
        return tuple(value for offset in offsets for value in twins.load4(array, index + offset))

    return _instruction(define, twin, "load", *offsets)


def sum_offsets(order: Order, tiles: int, panels: int, pitch: int) -> tuple[tuple[int, int], ...]:
    """Where four sums of a thread go in rows of ``pitch``, and the first of them; the others are 4 apart."""
    found = []
    for i, half, panel, side in combinations(range(tiles), range(2), range(panels), range(2)):
        row = 16 * i + 8 * half if order == "lines" else 32 * (i // 2) + 2 * (i % 2) + half
        first = (i * panels + panel) * 16 + 2 * half + side
        found.append((row * pitch + 32 * panel + 4 * side, first))
    return tuple(found)


@cache
def store(order: Order, tiles: int, panels: int, pitch: int) -> Any:
    """``store(array, index, sums)``: a thread's sums to its places in rows of ``pitch`` elements."""
    places = sum_offsets(order, tiles, panels, pitch)
    count = 16 * tiles * panels

    def define(_, array, index, sums):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            parts = unpack(builder, args[2], count)
            for offset, first in places:
                place = builder.add(args[1], args[1].type(offset))
                target = vector_pointer(context, builder, signature.args[0], args[0], place)
                value = target.type.pointee(None)
                for number in range(4):
                    value = builder.insert_element(value, parts[first + 4 * number], uint32(number))
                builder.store(value, target, align=16)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.UniTuple(types.float32, count)), generate

    def twin(array: Any, index: int, sums: Sequence[Any]) -> None:
        for offset, first in places:
            twins.store4(array, index + offset, *sums[first : first + 16 : 4])

    return _instruction(define, twin, "store", order, tiles, panels, pitch)


@cache
def multiply(precision: Precision, left: Order, right: Order, tiles: int, panels: int) -> Any:
    """``multiply(a, b, sums)``: the sums with the products of one slab added."""
    counts = (8 * tiles, 16 * panels, 16 * tiles * panels)

    def define(_, a, b, sums):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            parts = [unpack(builder, whole, count) for whole, count in zip(args, counts, strict=True)]

            def convert(*values: Any) -> Any:
                text = "cvt.rna.tf32.f32 $0, $1;" if len(values) == 1 else "cvt.rn.bf16x2.f32 $0, $2, $1;"
                return asm(builder, text, uint32, values, "=r" + ",f" * len(values))

            def add(a: Any, b: Any, c: Any) -> Any:
                return multiply_add(builder, precision, a, b, c)

            results = _product(precision, left, right, tiles, panels)(*parts, convert, add)
            return pack(context, builder, signature, results)

        given = [types.UniTuple(types.float32, count) for count in counts]
        return given[2](*given), generate

    def twin(a: Sequence[Any], b: Sequence[Any], sums: Sequence[Any]) -> Any:
        return twins.in_warp((a, b, sums), together)

    def together(lanes: Sequence[Any]) -> Any:
        parts = (twins.by_register(lanes, number) for number in range(3))
        results = _product(precision, left, right, tiles, panels)(*parts, *twins.warp_operations(precision))
        return [tuple(result[lane] for result in results) for lane in range(32)]

    return _instruction(define, twin, "multiply", precision, left, right, tiles, panels)


_WORDS = {"tf32": ((0,), (1,), (2,), (3,)), "bf16": ((0, 1), (2, 3))}
"""A thread's terms by the registers that they are converted to; two registers make an instruction's share."""


def _product(precision: Precision, left: Order, right: Order, tiles: int, panels: int) -> Callable[..., list[Any]]:
    """Which values meet in which instruction, whatever values are: registers of a compiler, or a warp's in numpy."""
    words = _WORDS[precision]
    parts = range(len(words))

    def product(a: Any, b: Any, sums: Any, convert: Any, add: Any) -> list[Any]:
        rows = {
            (i, half, word): convert(*(a[_row(left, i, half, term)] for term in words[word]))
            for i, half, word in combinations(range(tiles), range(2), parts)
        }
        columns = {
            (panel, j, word): convert(*(b[_column(right, panel, j, term)] for term in words[word]))
            for panel, j, word in combinations(range(panels), range(4), parts)
        }
        results = list(sums)
        for word, i, panel, j in combinations(parts[::2], range(tiles), range(panels), range(4)):
            at = ((i * panels + panel) * 4 + j) * 4
            fragment = [rows[i, half, k] for k in (word, word + 1) for half in range(2)]
            other = [columns[panel, j, k] for k in (word, word + 1)]
            results[at : at + 4] = add(fragment, other, results[at : at + 4])
        return results

    return product


def _row(order: Order, i: int, half: int, term: int) -> int:
    """Where a thread has a term of a row of the left operand among what it has loaded."""
    return (2 * i + half) * 4 + term if order == "lines" else (i // 2 * 4 + term) * 4 + 2 * (i % 2) + half


def _column(order: Order, panel: int, j: int, term: int) -> int:
    """Where it has a term of a column of the right operand."""
    return (panel * 4 + j) * 4 + term if order == "lines" else (panel * 4 + term) * 4 + j
