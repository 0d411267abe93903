"""The transforms of Winograd's convolution F(4x4, 3x3) on vectors of neighbouring channels (Lavin and Gray 2016).

A tile of 4 x 4 results is A^T [(G g G^T) * (B^T d B)] A, with the 3 x 3 filter g and the 6 x 6 pixels d. The matrices
are those of Cook and Toom for the points 0, 3/4, -3/4, 3/2, -3/2 and infinity: with them the rounding error is a
quarter of what the usual 0, 1, -1, 2, -2 give (on choosing points: Barabasz et al. 2020), and A and B stay exact in
binary. Written as LLVM vectors, as the micro-kernel is; nothing in here is bounds-checked.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from netspec.layers._cpu.llvm_vectors import LANES as LANES
from netspec.layers._cpu.llvm_vectors import VectorWriter, operand_types

POINTS = tuple(Fraction(n, 4) for n in (0, 3, -3, 6, -6))
"""Where the polynomials are evaluated, beside infinity; p is followed by -p, which halves the work."""
_OUT, _SIZE = 4, 3
Matrix = list[list[Fraction]]


def _coefficients(roots: tuple[Fraction, ...]) -> list[Fraction]:
    """The polynomial with these roots, lowest power first, filled up to one more than there are points."""
    result = [Fraction(1)]
    for root in roots:
        result = [up - root * same for up, same in zip([Fraction(0), *result], [*result, Fraction(0)], strict=True)]
    return result + [Fraction(0)] * (len(POINTS) + 1 - len(result))


def _powers(count: int) -> Matrix:
    """A row of powers for each point, and for infinity the highest alone."""
    return [[p**k for k in range(count)] for p in POINTS] + [[Fraction(int(k == count - 1)) for k in range(count)]]


def _transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


_others = [tuple(q for q in POINTS if q != p) for p in POINTS]
A = _powers(_OUT)
G = [
    [value / prod(p - q for q in others) for value in row]
    for p, others, row in zip(POINTS, _others, _powers(_SIZE), strict=False)
] + _powers(_SIZE)[-1:]
B = _transposed([*map(_coefficients, _others), _coefficients(POINTS)])
"""The matrices: A is 6 x 4, G is 6 x 3, B is 6 x 6."""


def _mirrored(matrix: Matrix) -> bool:
    """Whether rows 1 and 2, and 3 and 4, differ in signs alone."""
    pairs = [(1, 2), (3, 4)]
    return len(matrix) == 6 and all([*map(abs, matrix[i])] == [*map(abs, matrix[j])] for i, j in pairs)


_ARGUMENTS = ("source", "s_first s_row s_column", "target", "t_first t_row t_column")


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
        if _mirrored(matrix):
            result = [self.combine(row, values) for row in matrix]
            for i in (1, 3):
                even = [a if a == b else Fraction(0) for a, b in zip(matrix[i], matrix[i + 1], strict=True)]
                odd = [a if a != b else Fraction(0) for a, b in zip(matrix[i], matrix[i + 1], strict=True)]
                halves = self.combine(even, values), self.combine(odd, values)
                result[i], result[i + 1] = add(*halves), subtract(*halves)
            return result
        first, a, b, c, d, last = values
        values = [first, add(a, b), subtract(a, b), add(c, d), subtract(c, d), last]
        return [self.combine(_folded(row), values) for row in matrix]

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


def _folded(row: list[Fraction]) -> list[Fraction]:
    """Factors of sums and differences of values 1 and 2, and 3 and 4, in place of those of the values."""
    folded = list(row)
    for i in (1, 3):
        folded[i], folded[i + 1] = (row[i], Fraction(0)) if row[i] == row[i + 1] else (Fraction(0), row[i])
    return folded


def _transform(matrix: Matrix) -> Any:
    @intrinsic
    def transform(typing, source, source_at, target, target_at):  # type: ignore[no-untyped-def]
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            writer = _Writer(context, builder, sig, args, _ARGUMENTS)
            for i, row in enumerate(writer.sandwich(matrix)):
                for j, value in enumerate(row):
                    writer.put(value, i, j)
            return context.get_dummy_value()

        return types.void(*operand_types((source, source_at, target, target_at))), code

    return transform


input_transform, filter_transform, gradient_transform = _transform(_transposed(B)), _transform(G), _transform(A)
"""B^T d B, G g G^T, and A e A^T for 4 x 4 gradients e, of LANES channels. ``source_at`` and ``target_at`` are tuples
``(first, row, column)``: element (i, j) is ``first + i * row + j * column`` of a flat array."""
filter_gradient = _transform(_transposed(G))
"""G^T s G for 6 x 6 sums s: the gradient of a filter."""


@intrinsic
def output_transform(typing, source, source_at, target, target_at, start, shape):  # type: ignore[no-untyped-def]
    """A^T s A plus a row of starting values, ``shape`` (start's first one, rows, columns) of which is stored."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        writer = _Writer(context, builder, sig, args, (*_ARGUMENTS, "start", "start_first rows columns"))
        writer.store_part(writer.sandwich(_transposed(A)))
        return context.get_dummy_value()

    return types.void(*operand_types((source, source_at, target, target_at, start, shape))), code
