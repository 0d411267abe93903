"""The GEMM micro-kernel of bfloat16 factors: pairs of products are added to float32 sums by AVX-512's vdpbf16ps.

Terms come in pairs. A gives its rows' pairs as numbers of 32 bits; B is packed in panels of columns, for each pair of
terms all columns' pairs side by side. The instruction rounds after each product and takes denormal numbers for zeros.
Arrays hold 2-byte elements, whatever numba takes them for. Compiled on a CPU without AVX512-BF16 this ends the process.
Nothing in here is bounds-checked.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from netspec.layers._cpu.bf16_products import LANES, NARROW, ROWS_OF_NARROW, ROWS_OF_WIDE, WIDE
from netspec.layers._cpu.bf16_vectors import PairWriter
from netspec.layers._cpu.llvm_vectors import operand_types

TILES = ((NARROW, ROWS_OF_NARROW), (WIDE, ROWS_OF_WIDE))
_UNROLL = 4
_ARGUMENTS = (
    "width", "a", "a_rows", "b", "c", "c_rows", "start",
    "a_first b_first c_first s_first", "blocks leap runs jump run step accumulate",
)  # fmt: skip


class _Writer(PairWriter):
    """Writes ``c (+)= a b``; ``rows`` of the tile are ``a_rows`` apart, or neighbours with ``stepped``."""

    def __init__(self, builder: Any, context: Any, sig: Any, args: Any, tile: tuple[int, int], stepped: bool) -> None:
        super().__init__(context, builder, sig, args, _ARGUMENTS)
        (self.columns, self.rows), self.stepped = tile, stepped
        self.vectors, self.unit = self.columns // LANES, 4 if stepped else 2

    def write(self) -> None:
        rows = [self.whole(i) for i in range(self.rows)] if self.stepped else self.offsets("a_rows")
        first = self.at(self.args["a"], self.args["a_first"], self.unit)
        a = [self.at(first, row, self.unit) for row in rows]
        targets, is_float = self.targets(), self.sizes["c"] == 4
        if is_float:
            self.fetch(targets)
        state = [self.whole(0), self.at(self.args["b"], self.args["b_first"], 2), *self.row() * self.rows]
        sums = self.loop(self.args["blocks"], state, lambda s: self.block(a, s))[2:]
        sums = self.added(sums, targets) if is_float else sums
        for row, target in enumerate(targets):
            self.put(sums[row * self.vectors : (row + 1) * self.vectors], target)

    def block(self, a: list[Any], state: list[Any]) -> list[Any]:
        _, *rest = self.loop(self.args["runs"], state, lambda s: self.run(a, s))
        return [self.builder.add(state[0], self.args["leap"]), *rest]

    def run(self, a: list[Any], state: list[Any]) -> list[Any]:
        """One run: whole unrolled steps, then the pairs that are left."""
        steps = self.builder.sdiv(self.args["run"], self.whole(_UNROLL))
        left = self.builder.srem(self.args["run"], self.whole(_UNROLL))
        after = self.loop(steps, state, lambda s: self.terms(a, s, _UNROLL))
        _, *rest = self.loop(left, after, lambda s: self.terms(a, s, 1))
        return [self.builder.add(state[0], self.args["jump"]), *rest]

    def terms(self, a: list[Any], state: list[Any], count: int) -> list[Any]:
        place, b, sums = state[0], state[1], state[2:]
        step = self.args["step"] if self.stepped else self.whole(2)
        spots = [self.builder.add(place, self.builder.mul(step, self.whole(u))) for u in range(count + 1)]
        for u in range(count):
            first = u * self.columns
            right = [self.pairs(self.at(b, self.whole(first + j * LANES), 4)) for j in range(self.vectors)]
            for i in range(self.rows):
                left = self.broadcast(self.at(a[i], spots[u], self.unit))
                for j in range(self.vectors):
                    k = i * self.vectors + j
                    sums[k] = self.dot(sums[k], left, right[j])
        return [spots[count], self.at(b, self.whole(count * self.columns), 4), *sums]

    def offsets(self, name: str) -> list[Any]:
        return [self.number(self.at(self.args[name], self.whole(i), 8)) for i in range(self.rows)]

    def targets(self) -> list[Any]:
        size = self.sizes["c"]
        base = self.at(self.args["c"], self.args["c_first"], size)
        return [self.at(base, row, size) for row in self.offsets("c_rows")]

    def put(self, sums: list[Any], target: Any) -> None:
        """One row of results, rounded where the array's elements have two bytes."""
        if self.sizes["c"] == 4:
            for j, value in enumerate(sums):
                self.store(value, self.at(target, self.whole(LANES * j), 4))
            return
        for j in range(0, len(sums) - 1, 2):
            self.store(self.rounded(*sums[j : j + 2]), self.at(target, self.whole(LANES * j), 2))
        if len(sums) % 2:
            self.store(self.rounded_half(sums[-1]), self.at(target, self.whole(LANES * (len(sums) - 1)), 2))

    def added(self, sums: list[Any], targets: list[Any]) -> list[Any]:
        """With ``accumulate``, the sums with those in c added."""
        builder, before = self.builder, self.builder.block
        with builder.if_then(builder.icmp_signed("!=", self.args["accumulate"], self.whole(0))):
            spots = [self.at(t, self.whole(LANES * j), 4) for t in targets for j in range(self.vectors)]
            more = [builder.fadd(value, self.load(spot)) for value, spot in zip(sums, spots, strict=True)]
            then = builder.block
        return [self.either((old, before), (new, then)) for old, new in zip(sums, more, strict=True)]

    def fetch(self, targets: list[Any]) -> None:
        """Ask for the lines of c that are written at the end."""
        for target in targets:
            for j in range(self.vectors):
                self.fetch_to_write(self.at(target, self.whole(LANES * j), 4))

    def row(self) -> list[Any]:
        """The starting values of a row."""
        base = self.at(self.args["start"], self.args["s_first"], 4)
        return [self.load(self.at(base, self.whole(LANES * j), 4)) for j in range(self.vectors)]


def _micro_kernel(stepped: bool) -> Any:
    @intrinsic
    def multiply(typing, width, a, a_rows, b, c, c_rows, start, first, terms):  # type: ignore[no-untyped-def]
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            with builder.if_else(builder.icmp_signed("==", args[0], ir.IntType(64)(TILES[0][0]))) as branches:
                for branch, tile in zip(branches, TILES, strict=True):
                    with branch:
                        _Writer(builder, context, sig, args, tile, stepped).write()
            return context.get_dummy_value()

        return types.void(types.intp, *operand_types((a, a_rows, b, c, c_rows, start, first, terms))), code

    return multiply


multiply = _micro_kernel(False)
"""c[c_first + c_rows[i] + j] = start[s_first + j] + the sum over all pairs of terms of A's rows i times B's columns j.

The width, columns j, is one of those in TILES, rows i are as many as it has there. A's pairs are those at a[a_first +
a_rows[i] + n * leap + r * jump + 2 * k:], for blocks n, runs r of a block and pairs k of a run; B's follow each other
from b[b_first] on, 2 * width elements for each n, r and k. c is float32, or bfloat16, to which sums are rounded.

``first`` is (a_first, b_first, c_first, s_first), ``terms`` (blocks, leap, runs, jump, run, step, accumulate). With
``accumulate``, for a c of float32 alone, all of this is added to what it holds; ``step`` is not looked at."""
multiply_stepped = _micro_kernel(True)
"""The same with rows that are neighbours and steps between their pairs: A's are pairs number a_first + i + n * leap +
r * jump + k * step, all of these counted in pairs; ``a_rows`` are not looked at."""
