"""Intrinsics for Hopper's warpgroup matrix instruction on bfloat16 in shared memory (wgmma), by addresses.

The 128 threads of a warpgroup multiply 64 rows with a number of columns; sums are float32 in their registers: a tuple,
of which number n of a thread (lane 4 g + q of warp w) is row 16 w + g + 8 (n // 2 % 2), column 2 q + 8 (n // 4) +
n % 2. An operand lies in shared memory as TMA writes it, in lines of 128, 64 or 32 bytes, as the swizzle is:

- along the terms (K-major): a line a row, or a column of the right operand;
- turned (MN-major): a line a term, boxes of so many rows (or columns) one behind another.

How it lies is a tuple, see ``Operand``.

- ``multiply(columns, left, right)`` makes ``multiply(left, right, sums, add)``: start the products of all terms of
  both operands, at those addresses (uint32), as one group; ``add`` 0 forgets the sums that were before;
- ``settle(pending)`` makes ``settle()``: wait until at most so many groups are under way. Operands of the others may
  be overwritten; sums may not be touched.

Sums begin as warp_tiles.zeros, and are done where warpgroup.wait gives them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from llvmlite import ir

from netspec.kernels.inline_ptx import asm, float32, pack, uint32, unpack
from netspec.kernels.numba_cuda import named_intrinsic, types
from netspec.kernels.scalar_instruction import scalar_instruction
from netspec.kernels.warpgroup import tied

_WORD = ir.IntType(64)
_MODES = {128: 1, 64: 2, 32: 3}
"""A descriptor's swizzle mode by the bytes of a line."""


class Operand(NamedTuple):
    """How an operand lies; sizes in bytes.

    ``swizzle``: of a line. ``stride``: from eight lines to the next eight. ``leading``: turned, from a box to the next
    one. ``turned``: 0 or 1. ``steps``: where each 16 terms begin.
    """

    swizzle: int
    stride: int
    leading: int
    turned: int
    steps: tuple[int, ...]

    @property
    def layout(self) -> int:
        """A matrix descriptor without its address (PTX ISA, "Matrix descriptor")."""
        return _MODES[self.swizzle] << 62 | (self.stride >> 4) << 32 | (self.leading >> 4) << 16


@cache
def multiply(columns: int, left: tuple[Any, ...], right: tuple[Any, ...]) -> Any:
    """See above; ``left`` and ``right`` are what ``Operand`` is made of, of as many steps."""
    count, operands = columns // 2, (Operand(*left), Operand(*right))
    steps = len(operands[0].steps)
    text = _text(columns, steps, *operands)
    constraints = tied(count, "l," * (2 * steps) + "r,~{memory}")

    def define(_, left, right, sums, add):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            values = unpack(builder, args[2], count)
            for start, operand in zip(args, operands, strict=False):
                values += _descriptors(builder, start, operand)
            results = asm(builder, text, [float32] * count, [*values, args[3]], constraints, moves=False)
            return pack(context, builder, signature, results)

        whole = types.UniTuple(types.float32, count)
        return whole(types.uint32, types.uint32, whole, types.uint32), generate

    return named_intrinsic(define, "multiply", columns, *map(_word, (*left, *right)))


def _word(value: Any) -> str:
    return "_".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _descriptors(builder: Any, start: Any, operand: Operand) -> list[Any]:
    near = builder.lshr(builder.and_(start, uint32(0x3FFFF)), uint32(4))
    first = builder.or_(builder.zext(near, _WORD), _WORD(operand.layout))
    return [builder.add(first, _WORD(step >> 4)) for step in operand.steps]


def _text(columns: int, steps: int, left: Operand, right: Operand) -> str:
    """PTX of a group in one piece, so that no register move can come between."""
    sums = ",".join(f"${number}" for number in range(columns // 2))
    lefts = columns  # sums count twice: as results, and as inputs tied to them
    rights, add = lefts + steps, lefts + 2 * steps
    lines = ["{", ".reg .pred add;", f"setp.ne.b32 add, ${add}, 0;", "wgmma.fence.sync.aligned;"]
    for step in range(steps):
        flags = f"{'1' if step else 'add'}, 1, 1, {left.turned}, {right.turned}"
        kind = f"wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.bf16.bf16"
        lines.append(f"{kind} {{{sums}}}, ${lefts + step}, ${rights + step}, {flags};")
    return "\n".join([*lines, "wgmma.commit_group.sync.aligned;", "}"])


@cache
def settle(pending: int) -> Any:
    """See above."""
    return scalar_instruction(f"settle_{pending}", f"wgmma.wait_group.sync.aligned {pending};", "")
