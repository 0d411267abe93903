"""Response normalisation over windows of five channels as LLVM vectors: intrinsics for numba.

Squares, and backwards ratios, lie in a tile with two zeros before each group of channels and behind the last, so that
clipped windows need no case of their own. Nothing in here is bounds-checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from netspec.layers._cpu.llvm_vectors import LANES, VectorWriter, counted_loop, operand_types
from netspec.layers._cpu.lrn_rows import GAP

_SIZES = "first count width"


class _Writer(VectorWriter):
    """Writes loops over the groups of a tile and the vectors of each."""

    def __init__(self, context: Any, builder: Any, sig: Any, args: Any, names: Sequence[str]) -> None:
        super().__init__(context, builder, sig, args, names)
        kind = ir.FunctionType(self.vector, [self.vector])
        name = f"llvm.sqrt.v{LANES}{'f32' if self.element == ir.FloatType() else 'f64'}"
        self.root = cgutils.get_or_insert_function(builder.module, kind, name)
        numbers = (each for each in ("k", "per_term", "coupling") if each in names)
        self.spread = {name: self.everywhere(self.args[name]) for name in numbers}

    def each(self, body: Callable[[Any, Any], None], gap: Callable[[Any], None] | None = None) -> None:
        """Write ``body`` for each vector's places in the tensors and in a tile, ``gap`` for those behind a group.

        A group's last vector ends with it, and may do again what the one before it has done.
        """
        add, whole, width = self.builder.add, self.whole, self.args["width"]

        def group(state: list[Any]) -> list[Any]:
            def vector(offsets: list[Any]) -> list[Any]:
                is_whole = self.builder.icmp_signed("<", offsets[0], last)
                offset = self.builder.select(is_whole, offsets[0], last)
                body(*(add(place, offset) for place in state))
                return [add(offsets[0], whole(LANES))]

            counted_loop(self.builder, vectors, [whole(0)], vector)
            at, spot = (add(place, width) for place in state)
            if gap is not None:
                gap(spot)
            return [at, add(spot, whole(GAP))]

        last = self.builder.sub(width, whole(LANES))
        vectors = self.builder.sdiv(add(width, whole(LANES - 1)), whole(LANES))
        counted_loop(self.builder, self.args["count"], [self.args["first"], whole(GAP)], group)

    def of(self, name: str, place: Any) -> Any:
        """A vector of an array."""
        return self.load(self.at(self.args[name], place))

    def put(self, name: str, place: Any, value: Any) -> None:
        """Store a vector in an array."""
        self.store(value, self.at(self.args[name], place))

    def clear(self, name: str, spot: Any) -> None:
        """Two zeros."""
        for offset in range(GAP):
            self.builder.store(self.element(0.0), self.at(self.args[name], self.builder.add(spot, self.whole(offset))))

    def spread_squares(self) -> None:
        def square(at: Any, spot: Any) -> None:
            value = self.of("x", at)
            self.put("tile", spot, self.builder.fmul(value, value))

        self.clear("tile", self.whole(0))
        self.each(square, lambda spot: self.clear("tile", spot))

    def window(self, name: str, spot: Any) -> Any:
        """The sum of five neighbours."""
        add = self.builder.fadd
        a, b, c, d, e = (self.of(name, self.builder.add(spot, self.whole(n - GAP))) for n in range(5))
        return add(add(a, add(b, c)), add(d, e))

    def powers(self, spot: Any) -> tuple[Any, Any]:
        """scale ** -0.5, which LLVM takes from an estimate and a step of Newton's method, and scale ** -0.75.

        That step makes NaN of infinity, for which there are zeros here, as by a division.
        """
        builder, zeros = self.builder, ir.Constant(self.vector, None)
        scale = builder.call(self.multiply_add, [self.spread["per_term"], self.window("tile", spot), self.spread["k"]])
        half = builder.fdiv(self.everywhere(self.element(1.0)), builder.call(self.root, [scale]))
        infinity = self.everywhere(self.element(float("inf")))
        half = builder.select(builder.fcmp_ordered("==", scale, infinity), zeros, half)
        return half, builder.fmul(half, builder.call(self.root, [half]))

    def forward(self) -> None:
        def scaled(at: Any, spot: Any) -> None:
            self.put("y", at, self.builder.fmul(self.of("x", at), self.powers(spot)[1]))

        self.spread_squares()
        self.each(scaled)

    def backward(self) -> None:
        multiply = self.builder.fmul

        def ratio(at: Any, spot: Any) -> None:
            half, power = self.powers(spot)
            share = multiply(self.of("dy", at), power)
            self.put("shares", spot, share)
            self.put("ratios", spot, multiply(multiply(self.of("x", at), share), multiply(half, half)))

        def combined(at: Any, spot: Any) -> None:
            total = multiply(self.spread["coupling"], self.window("ratios", spot))
            other = multiply(self.of("x", at), total)
            self.put("d_x", at, self.builder.fsub(self.of("shares", spot), other))

        self.spread_squares()
        self.clear("ratios", self.whole(0))
        self.each(ratio, lambda spot: self.clear("ratios", spot))
        self.each(combined)


@intrinsic
def normalise(typing, x, y, tile, sizes, k, per_term):  # type: ignore[no-untyped-def]
    """y = x * (k + per_term * the squares' sum) ** -0.75 for groups from ``first`` on; sizes (first, count, width)."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _Writer(context, builder, sig, args, ("x", "y", "tile", _SIZES, "k", "per_term")).forward()
        return context.get_dummy_value()

    return types.void(*operand_types((x, y, tile, sizes)), x.dtype, x.dtype), code


@intrinsic
def normalise_back(typing, x, dy, d_x, tile, shares, ratios, sizes, k, per_term, coupling):  # type: ignore[no-untyped-def]
    """The gradient: d_x = dy * power - coupling * x * the sum of dy * x * power / scale, of the same groups."""
    names = ("x", "dy", "d_x", "tile", "shares", "ratios", _SIZES, "k", "per_term", "coupling")

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _Writer(context, builder, sig, args, names).backward()
        return context.get_dummy_value()

    return types.void(*operand_types((x, dy, d_x, tile, shares, ratios, sizes)), *[x.dtype] * 3), code
