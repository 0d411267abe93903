"""The transforms of Winograd's convolutions on vectors of neighbouring channels: see winograd_forms for the matrices.

Written as LLVM vectors, as the micro-kernel is; nothing in here is bounds-checked.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from netspec.layers._cpu.llvm_vectors import LANES as LANES
from netspec.layers._cpu.llvm_vectors import VectorWriter, counted_loop, operand_types
from netspec.layers._cpu.winograd_forms import Matrices, Matrix, matrices, transposed

_ARGUMENTS = ("tile size", "source", "s_first s_row s_column", "target", "t_first t_row t_column")


class _Writer(VectorWriter):
    """Writes target = matrix source matrix^T for the vectors of one tile."""

    def sandwich(self, matrix: Matrix) -> list[list[Any]]:
        """matrix source matrix^T."""
        size, args = range(len(matrix[0])), self.args
        columns = [
            self.product(matrix, [self.load(self.place("source", args["s_row"], i, args["s_column"], j)) for i in size])
            for j in size
        ]
        return [self.product(matrix, [column[i] for column in columns]) for i in range(len(matrix))]

    def product(self, matrix: Matrix, values: list[Any]) -> list[Any]:
        """matrix times values; what the points p and -p have in common is worked out once."""
        add, subtract = self.builder.fadd, self.builder.fsub
        values = list(values)
        for i in _pairs(transposed(matrix)):
            a, b = values[i], values[i + 1]
            values[i], values[i + 1] = add(a, b), subtract(a, b)
            matrix = [_folded(row, i) for row in matrix]
        paired = _pairs(matrix)
        alone = {*range(len(matrix))} - {i + k for i in paired for k in (0, 1)}
        result = [self.combine(row, values) if i in alone else None for i, row in enumerate(matrix)]
        for i in paired:
            even, odd = (self.combine(half, values) for half in _halves(matrix[i], matrix[i + 1]))
            result[i], result[i + 1] = add(even, odd), subtract(even, odd)
        return result

    def combine(self, factors: list[Fraction], values: list[Any]) -> Any:
        """The sum of factors times values, those that need no product first."""
        builder, total = self.builder, None
        for factor, value in sorted(zip(factors, values, strict=True), key=lambda pair: pair[0] != 1):
            splat = ir.Constant(self.vector, [float(factor)] * LANES)
            if factor and total is None:
                total = value if factor == 1 else builder.fmul(value, splat)
            elif factor == 1:
                total = builder.fadd(total, value)
            elif factor:
                total = builder.call(self.multiply_add, [value, splat, total])
        return total

    def place(self, array: str, row: Any, i: int, column: Any, j: int) -> Any:
        builder = self.builder
        steps = builder.add(builder.mul(row, self.whole(i)), builder.mul(column, self.whole(j)))
        first = self.args["s_first" if array == "source" else "t_first"]
        return self.at(self.args[array], builder.add(first, steps))

    def put(self, value: Any, i: int, j: int) -> None:
        self.store(value, self.place("target", self.args["t_row"], i, self.args["t_column"], j))

    def store_part(self, results: list[list[Any]]) -> None:
        """Results with the starting row added, those of the first rows and columns only."""
        builder, args = self.builder, self.args
        start = self.load(self.at(args["start"], args["start_first"]))
        for i, row in enumerate(results):
            with builder.if_then(builder.icmp_signed(">", args["rows"], self.whole(i))):
                for j, value in enumerate(row):
                    with builder.if_then(builder.icmp_signed(">", args["columns"], self.whole(j))):
                        self.put(builder.fadd(value, start), i, j)


def _halves(one: list[Fraction], two: list[Fraction]) -> tuple[list[Fraction], list[Fraction]]:
    """Half the sum and half the difference of two rows."""
    return [(p + q) / 2 for p, q in zip(one, two, strict=True)], [(p - q) / 2 for p, q in zip(one, two, strict=True)]


def _pairs(matrix: Matrix) -> list[int]:
    """Rows that take fewer operations together with the next one: those of a point p, -p being the next."""
    return [i for i in range(1, len(matrix) - 1, 2) if _saves(matrix[i], matrix[i + 1])]


def _saves(one: list[Fraction], two: list[Fraction]) -> bool:
    separate, together = (sum(map(bool, (*a, *b))) for a, b in ((one, two), _halves(one, two)))
    return together + 2 < separate


def _folded(row: list[Fraction], i: int) -> list[Fraction]:
    """The row's factors where value i is the sum of itself and the next one, and that one their difference."""
    return [*row[:i], (row[i] + row[i + 1]) / 2, (row[i] - row[i + 1]) / 2, *row[i + 2 :]]


def _transform(of: Callable[[Matrices], Matrix]) -> Any:
    @intrinsic
    def transform(typing, form, source, source_at, target, target_at):  # type: ignore[no-untyped-def]
        matrix = of(matrices(form.instance_class()))

        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            writer = _Writer(context, builder, sig, args, _ARGUMENTS)
            for i, row in enumerate(writer.sandwich(matrix)):
                for j, value in enumerate(row):
                    writer.put(value, i, j)
            return context.get_dummy_value()

        return types.void(form, *operand_types((source, source_at, target, target_at))), code

    return transform


input_transform = _transform(lambda those: those.b_transposed)
filter_transform = _transform(lambda those: those.g)
gradient_transform = _transform(lambda those: those.a)
"""B^T d B, G g G^T, and A e A^T for a tile's gradients e, of LANES channels. ``source_at`` and ``target_at`` are tuples
``(first, row, column)``: element (i, j) is ``first + i * row + j * column`` of a flat array."""
filter_gradient = _transform(lambda those: transposed(those.g))
"""G^T s G for the sums s of all points: the gradient of a filter."""


@intrinsic
def output_transform(typing, form, source, source_at, target, target_at, start, shape):  # type: ignore[no-untyped-def]
    """A^T s A plus a row of starting values, ``shape`` (start's first one, rows, columns) of which is stored."""
    matrix = transposed(matrices(form.instance_class()).a)

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        writer = _Writer(context, builder, sig, args, (*_ARGUMENTS, "start", "start_first rows columns"))
        writer.store_part(writer.sandwich(matrix))
        return context.get_dummy_value()

    return types.void(form, *operand_types((source, source_at, target, target_at, start, shape))), code


@intrinsic
def copy_fours(typing, source, target, places):  # type: ignore[no-untyped-def]
    """Copy elements, four at once; ``places``: the first one in source and in target, and how often."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        writer = VectorWriter(context, builder, sig, args, ("source", "target", "begin at count"))
        writer.vector, operands = ir.VectorType(writer.element, 4), writer.args

        def copy_four(state: list[Any]) -> list[Any]:
            writer.store(writer.load(writer.at(operands["source"], state[0])), writer.at(operands["target"], state[1]))
            return [builder.add(place, writer.whole(4)) for place in state]

        counted_loop(builder, operands["count"], [operands["begin"], operands["at"]], copy_four)
        return context.get_dummy_value()

    return types.void(*operand_types((source, target, places))), code
