"""Intrinsics for Hopper's warpgroup matrix instruction (wgmma, compute capability 9.0 only).

The 128 threads of a warpgroup multiply tiles in shared memory asynchronously; accumulators are in their registers.
Both operands lie in lines of 16 float32, the K dimension along a line, line after line. The four float4s of a line are
swizzled (PTX ISA, "64-Byte swizzling"): float4 ``c`` of line ``r`` lies at position ``c ^ r // 2 % 4``. Operands begin
at multiples of 1024 bytes. The tensor cores read the upper 19 bits of a float32: they truncate, they do not round.

Functions to make intrinsics, for ``blocks`` of 64 rows and so many columns:

- ``multiply(blocks, columns)``: ``multiply(array, left, right, sums)`` starts 16 terms of the products of the operands
  at those two indices, added to the sums, which nobody may touch until they have passed through ``wait``;
- ``wait(blocks, columns)``: ``wait(sums)`` gives them when all products of the warpgroup are done;
- ``store(blocks, columns, pitch)``: ``store(array, index, sums, block)`` writes a thread's sums of a block to its
  places in rows of ``pitch`` elements, ``index`` being the first one's: row 16 w + g, column 2 q for lane 4 g + q of
  warp w.

``cp_async16_cached`` is cp_async16 (netspec.kernels.instructions) through the first-level cache instead of past it, for
what blocks of the same multiprocessor read again.
``rounded(value)`` is a float32's nearest tf32, ties away from zero, of which nothing is left to cut off.
``fence()``: each thread calls it behind its last write to shared memory and before the barrier behind which the tensor
cores read that: they do not see by themselves what threads have written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product as combinations
from typing import Any

from llvmlite import ir

from netspec.kernels.inline_ptx import address, asm, float32, pack, pointer, uint32, unpack
from netspec.kernels.instructions import async_copy
from netspec.kernels.numba_cuda import intrinsic, named_intrinsic, types
from netspec.kernels.scalar_instruction import scalar_instruction

BLOCK_K = 16
"""Terms of a line."""
ROWS = 64
"""Rows of a block, which one instruction takes."""
STEP = 8
"""Terms that one instruction takes."""
_WORD = ir.IntType(64)
LAYOUT = 2 << 62 | (8 * BLOCK_K * 4 >> 4) << 32 | 1 << 16
"""A descriptor without its address: 64-byte swizzling, bytes from eight lines to the next eight; the last is unused."""


def descriptor(start: int) -> int:
    """The matrix descriptor of an operand: its start in bytes of shared memory, and its layout."""
    return LAYOUT | (start & 0x3FFFF) >> 4


def sum_places(columns: int) -> tuple[tuple[int, int], ...]:
    """Row and column of a thread's accumulators relative to the first: PTX ISA, "wgmma ... D fragments"."""
    return tuple((8 * (number // 2 % 2), 8 * (number // 4) + number % 2) for number in range(columns // 2))


def tied(count: int, others: str) -> str:
    """Constraints of so many in-out float32 registers, and of further inputs."""
    return ",".join([*["=f"] * count, *map(str, range(count)), others])


@cache
def multiply(blocks: int, columns: int) -> Any:
    """See above."""
    count = blocks * columns // 2

    def define(_, array, left, right, sums):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            array_type, place = signature.args[0], args[0]
            left, right = (_operand(builder, pointer(context, builder, array_type, place, one)) for one in args[1:3])
            starts = [builder.add(word, word.type(offset >> 4)) for word, offset in _shares(left, right, blocks)]
            values, constraints = [*unpack(builder, args[3], count), *starts], "l," * len(starts) + "~{memory}"
            text = _text(blocks, columns)
            results = asm(builder, text, [float32] * count, values, tied(count, constraints), moves=False)
            return pack(context, builder, signature, results)

        whole = types.UniTuple(types.float32, count)
        return whole(array, types.int64, types.int64, whole), generate

    return named_intrinsic(define, "multiply", blocks, columns)


def _operand(builder: Any, place: Any) -> Any:
    """``descriptor`` of a place in shared memory."""
    start = builder.and_(address(builder, place, shared=True), uint32(0x3FFFF))
    return builder.or_(builder.zext(builder.lshr(start, uint32(4)), _WORD), _WORD(LAYOUT))


def _shares(left: Any, right: Any, blocks: int) -> list[tuple[Any, int]]:
    """Byte offsets of each instruction's operands from their starts."""
    steps = range(0, BLOCK_K * 4, STEP * 4)
    return [(left, step + block * ROWS * BLOCK_K * 4) for step in steps for block in range(blocks)] + [
        (right, step) for step in steps
    ]


def _text(blocks: int, columns: int) -> str:
    """PTX of a stage's instructions in one piece, so that no register move can come between."""
    each, starts = columns // 2, blocks * columns  # sums count twice: as results, and as inputs tied to them
    kind = f"wgmma.mma_async.sync.aligned.m{ROWS}n{columns}k{STEP}.f32.tf32.tf32"
    lines = ["{", ".reg .pred add;", "setp.ne.b32 add, 1, 0;", "wgmma.fence.sync.aligned;"]
    for step, block in combinations(range(BLOCK_K // STEP), range(blocks)):
        registers = ",".join(f"${block * each + number}" for number in range(each))
        left, right = starts + step * blocks + block, starts + BLOCK_K // STEP * blocks + step
        lines.append(f"{kind} {{{registers}}}, ${left}, ${right}, add, 1, 1;")
    return "\n".join([*lines, "wgmma.commit_group.sync.aligned;", "}"])


@cache
def wait(blocks: int, columns: int) -> Any:
    """See above."""
    count = blocks * columns // 2

    def define(_, sums):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            values = unpack(builder, args[0], count)
            text = "wgmma.wait_group.sync.aligned 0;"
            results = asm(builder, text, [float32] * count, values, tied(count, "~{memory}"), moves=False)
            return pack(context, builder, signature, results)

        whole = types.UniTuple(types.float32, count)
        return whole(whole), generate

    return named_intrinsic(define, "wait", blocks, columns)


@cache
def store(blocks: int, columns: int, pitch: int) -> Any:
    """See above."""
    each, places = columns // 2, sum_places(columns)

    def define(_, array, index, sums, block):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            parts = unpack(builder, args[2], blocks * each)
            first = pointer(context, builder, signature.args[0], *args[:2])
            for number in range(blocks):  # registers have no index: each block has stores of its own
                with builder.if_then(builder.icmp_signed("==", args[3], args[3].type(number))):
                    own = parts[number * each : (number + 1) * each]
                    for pair in range(0, each, 2):
                        row, column = places[pair]
                        _store_pair(builder, builder.gep(first, [uint32(row * pitch + column)]), own[pair : pair + 2])
            return context.get_dummy_value()

        return types.void(array, types.int64, types.UniTuple(types.float32, blocks * each), types.int64), generate

    return named_intrinsic(define, "store", blocks, columns, pitch)


def _store_pair(builder: Any, place: Any, values: Sequence[Any]) -> None:
    kind = ir.VectorType(float32, 2)
    pair = builder.insert_element(kind(ir.Undefined), values[0], uint32(0))
    pair = builder.insert_element(pair, values[1], uint32(1))
    builder.store(pair, builder.bitcast(place, ir.PointerType(kind, place.type.addrspace)), align=8)


fence = scalar_instruction("fence", "fence.proxy.async.shared::cta;", "")
cp_async16_cached = async_copy(16, "ca", "cp_async16_cached")


@intrinsic
def rounded(_, value):  # type: ignore[no-untyped-def]
    """See above."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(asm(builder, "cvt.rna.tf32.f32 $0, $1;", uint32, args, "=r,f"), float32)

    return types.float32(types.float32), generate
