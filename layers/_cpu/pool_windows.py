"""Maxima and averages of windows, and their gradients, as LLVM vectors of channels: intrinsics for numba.

A window's running maximum and its place, or its sum, stay in registers, whatever the window. Arrays are flat, and
nothing in here is bounds-checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from netspec.layers._cpu.llvm_vectors import LANES, VectorWriter, counted_loop, operand_types
from netspec.layers._cpu.pool_vectors import CHANNELS

_INT = ir.IntType(32)
_PLACES = ir.VectorType(_INT, LANES)
_SIDE_BY_SIDE = CHANNELS // LANES
"""Vectors of channels that are worked on at once, so that none waits for the comparison before it."""
_TERMS = "at to depth rows columns line place"
Vectors = list[Any]


class _Writer(VectorWriter):
    """Writes loops over the channels of a window, and in them over its rows and columns."""

    def each(self, body: Callable[[Any], None]) -> None:
        """Write ``body`` for the first channel of each of the vectors that are worked on at once."""
        count = self.builder.sdiv(self.args["depth"], self.whole(CHANNELS))

        def channels(state: Vectors) -> Vectors:
            body(state[0])
            return [self.builder.add(state[0], self.whole(CHANNELS))]

        counted_loop(self.builder, count, [self.whole(0)], channels)

    def windows(
        self,
        channel: Any,
        state: Vectors,
        steps: Sequence[Any],
        body: Callable[[Any, Any, Vectors], Vectors],
        ahead: str = "",
    ) -> Vectors:
        """state = body(element, place, state) over rows and columns; ``steps``: of the place, a row and a column.

        Of the array ``ahead`` the second and third pixels behind each row are brought near, for windows to come.
        """
        add, (down, beside) = self.builder.add, steps

        def column(now: Vectors) -> Vectors:
            return [add(now[0], self.args["depth"]), add(now[1], beside), *body(now[0], now[1], now[2:])]

        def row(now: Vectors) -> Vectors:
            for beyond in (1, 2) if ahead else ():
                pixels = add(self.args["columns"], self.whole(beyond))
                self.fetch(ahead, add(now[0], self.builder.mul(self.args["depth"], pixels)))
            inner = counted_loop(self.builder, self.args["columns"], now, column)
            return [add(now[0], self.args["line"]), add(now[1], down), *inner[2:]]

        begin = [add(self.args["at"], channel), self.args["place"], *state]
        return counted_loop(self.builder, self.args["rows"], begin, row)[2:]

    def spots(self, name: str, place: Any) -> Vectors:
        """Addresses of the vectors from an element on."""
        whole = [self.builder.add(place, self.whole(v * LANES)) for v in range(_SIDE_BY_SIDE)]
        element = _INT if name == "argmax" else self.element
        return [self.builder.gep(self.args[name], [one], source_etype=element) for one in whole]

    def fetch(self, name: str, place: Any) -> None:
        """Bring an element near, which may lie outside the array."""
        spot = self.spots(name, place)[0]
        kind = ir.FunctionType(ir.VoidType(), [spot.type, _INT, _INT, _INT])
        fetch = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        self.builder.call(fetch, [spot, _INT(0), _INT(3), _INT(1)])

    def same(self, place: Any) -> Any:
        """A place in all lanes."""
        return self.everywhere(self.builder.trunc(place, _INT))

    def largest(self, with_places: bool) -> None:
        builder, lowest = self.builder, ir.Constant(self.vector, [float("-inf")] * LANES)

        def pixel(element: Any, place: Any, state: Vectors) -> Vectors:
            best, where, here = state[:_SIDE_BY_SIDE], state[_SIDE_BY_SIDE:], self.same(place)
            for v, spot in enumerate(self.spots("x", element)):
                value = self.load(spot)
                is_larger = builder.fcmp_unordered(">", value, best[v])  # so is NaN, but than NaN
                better = builder.and_(is_larger, builder.fcmp_ordered("ord", best[v], best[v]))
                best[v] = builder.select(better, value, best[v])
                if with_places:
                    where[v] = builder.select(better, here, where[v])
            return [*best, *where]

        def channels(channel: Any) -> None:
            to, first = builder.add(self.args["to"], channel), self.same(self.args["place"])
            state = [lowest] * _SIDE_BY_SIDE + [first] * (_SIDE_BY_SIDE if with_places else 0)
            found = self.windows(channel, state, (self.args["below"], self.whole(1)), pixel, "x")
            targets = self.spots("y", to) + (self.spots("argmax", to) if with_places else [])
            for value, target in zip(found, targets, strict=True):
                builder.store(value, builder.bitcast(target, value.type.as_pointer()), align=4)

        self.each(channels)

    def average(self) -> None:
        def pixel(element: Any, _: Any, sums: Vectors) -> Vectors:
            pixels = [self.load(spot) for spot in self.spots("x", element)]
            return [self.builder.fadd(one, value) for one, value in zip(sums, pixels, strict=True)]

        def channels(channel: Any) -> None:
            count = self.everywhere(self.builder.sitofp(self.args["count"], self.element))
            sums = self.windows(channel, self.nothing(), (self.whole(0), self.whole(0)), pixel, "x")
            means = [self.builder.fdiv(one, count) for one in sums]
            self.keep(means, "y", channel)

        self.each(channels)

    def shared_gradient(self) -> None:
        def window(element: Any, place: Any, totals: Vectors) -> Vectors:
            share = self.everywhere(self.builder.load(self.at(self.args["shares"], place), typ=self.element))
            return [
                self.builder.call(self.multiply_add, [self.load(spot), share, total])
                for total, spot in zip(totals, self.spots("dy", element), strict=True)
            ]

        def channels(channel: Any) -> None:
            steps = (self.args["below"], self.whole(1))
            self.keep(self.windows(channel, self.nothing(), steps, window), "d_x", channel)

        self.each(channels)

    def nothing(self) -> Vectors:
        """Sums of nothing, which add nothing to -0.0 either."""
        return [ir.Constant(self.vector, [-0.0] * LANES)] * _SIDE_BY_SIDE

    def keep(self, values: Vectors, name: str, channel: Any) -> None:
        """Store the vectors of a pixel's channels."""
        for value, target in zip(values, self.spots(name, self.builder.add(self.args["to"], channel)), strict=True):
            self.store(value, target)

    def gradient(self) -> None:
        builder, zeros = self.builder, ir.Constant(self.vector, None)

        def window(element: Any, place: Any, totals: Vectors) -> Vectors:
            here = self.same(place)
            for v, spots in enumerate(zip(self.spots("dy", element), self.spots("argmax", element), strict=True)):
                value, where = self.load(spots[0]), builder.load(spots[1], align=4, typ=_PLACES)
                own = builder.select(builder.icmp_signed("==", where, here), value, zeros)
                totals[v] = builder.fadd(totals[v], own)
            return totals

        def channels(channel: Any) -> None:
            steps = [builder.neg(self.args[name]) for name in ("down", "beside")]
            self.keep(self.windows(channel, self.nothing(), steps, window), "d_x", channel)

        self.each(channels)


def _written(names: tuple[str, ...], write: Callable[[_Writer], None]) -> Any:
    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        write(_Writer(context, builder, sig, args, names))
        return context.get_dummy_value()

    return code


@intrinsic
def take_largest(typing, x, y, argmax, terms):  # type: ignore[no-untyped-def]
    """y[to:][:depth] = the largest of the pixels x[at + r * line + c * depth:][:depth] for r < rows and c < columns,
    and argmax = place + r * below + c of the first of these; terms (at, to, depth, rows, columns, line, place, below).
    """
    names = ("x", "y", "argmax", f"{_TERMS} below")
    return types.void(*operand_types((x, y, argmax, terms))), _written(names, lambda w: w.largest(True))


@intrinsic
def take_largest_alone(typing, x, y, terms):  # type: ignore[no-untyped-def]
    """The same without places."""
    kinds = types.void(*operand_types((x, y, terms)))
    return kinds, _written(("x", "y", f"{_TERMS} below"), lambda w: w.largest(False))


@intrinsic
def gather_gradients(typing, dy, argmax, d_x, terms):  # type: ignore[no-untyped-def]
    """d_x[to:][:depth] = the sum over r < rows and c < columns of dy[at + r * line + c * depth:][:depth] where argmax
    there is place - r * down - c * beside; terms (at, to, depth, rows, columns, line, place, down, beside).
    """
    names = ("dy", "argmax", "d_x", f"{_TERMS} down beside")
    return types.void(*operand_types((dy, argmax, d_x, terms))), _written(names, lambda w: w.gradient())


@intrinsic
def take_average(typing, x, y, terms):  # type: ignore[no-untyped-def]
    """y[to:][:depth] = the sum of the pixels x[at + r * line + c * depth:][:depth] for r < rows and c < columns, over
    ``count``; terms (at, to, depth, rows, columns, line, place, count), of which place is not looked at."""
    kinds = types.void(*operand_types((x, y, terms)))
    return kinds, _written(("x", "y", f"{_TERMS} count"), lambda w: w.average())


@intrinsic
def gather_shares(typing, dy, shares, d_x, terms):  # type: ignore[no-untyped-def]
    """d_x[to:][:depth] = the sum over r < rows and c < columns of dy[at + r * line + c * depth:][:depth] times
    shares[place + r * below + c]; terms (at, to, depth, rows, columns, line, place, below)."""
    names = ("dy", "shares", "d_x", f"{_TERMS} below")
    return types.void(*operand_types((dy, shares, d_x, terms))), _written(names, lambda w: w.shared_gradient())
