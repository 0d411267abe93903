"""Products with pairs of bfloat16, words of 32 bits, as float32 on any CPU: intrinsics for numba.

Half a word is a float32's upper half, so a shift or a mask of a vector of words gives a vector of float32 each.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from netspec.layers._cpu.bf16_panels import HALF, STREAMS
from netspec.layers._cpu.llvm_vectors import LANES, VectorWriter, counted_loop, operand_types

_WORD, _FLOAT = ir.IntType(32), ir.FloatType()
_WORDS = ir.VectorType(_WORD, LANES)


class _Writer(VectorWriter):
    """Writes the products of terms of some streams with their words, all sums in registers."""

    def __init__(self, context: Any, builder: Any, sig: Any, args: Any, streams: int) -> None:
        super().__init__(context, builder, sig, args, ("sums", "words", "x", "to at first count apart"))
        self.is_stored = context.get_abi_sizeof(context.get_data_type(sig.args[2].dtype)) == 2
        self.streams = [builder.mul(self.args["apart"], self.whole(number)) for number in range(streams)]

    def write(self) -> None:
        target = self.at(self.args["sums"], self.args["to"])
        spots = [self.at(target, self.whole(j)) for j in range(0, 2 * HALF, LANES)]
        state = [self.args["at"], self.args["first"], *map(self.load, spots)]
        state = counted_loop(self.builder, self.args["count"], state, self.term)
        for value, spot in zip(state[2:], spots, strict=True):
            self.store(value, spot)

    def term(self, state: list[Any]) -> list[Any]:
        builder, (at, first, *sums) = self.builder, state
        for stream in self.streams:
            place = builder.add(at, builder.mul(stream, self.whole(HALF)))
            self.add(sums, self.factor(builder.add(first, stream)), place)
        return [builder.add(at, self.whole(HALF)), builder.add(first, self.whole(1)), *sums]

    def add(self, sums: list[Any], factor: Any, place: Any) -> None:
        """A term's products."""
        builder = self.builder
        for v in range(HALF // LANES):
            spot = self.at(self.args["words"], builder.add(place, self.whole(v * LANES)))
            words = builder.load(spot, align=4, typ=_WORDS)
            low = builder.shl(words, ir.Constant(_WORDS, [16] * LANES))
            high = builder.and_(words, ir.Constant(_WORDS, [0xFFFF0000] * LANES))
            for half, number in ((low, v), (high, v + HALF // LANES)):
                value = builder.bitcast(half, self.vector)
                sums[number] = builder.call(self.multiply_add, [factor, value, sums[number]])

    def factor(self, place: Any) -> Any:
        """An element of x in all lanes."""
        builder, kind = self.builder, ir.IntType(16) if self.is_stored else _FLOAT
        value = builder.load(builder.gep(self.args["x"], [place], source_etype=kind), typ=kind)
        if self.is_stored:
            value = builder.bitcast(builder.shl(builder.zext(value, _WORD), _WORD(16)), _FLOAT)
        return self.everywhere(value)


def _products(streams: int) -> Any:
    @intrinsic
    def add(typing, sums, words, x, terms):  # type: ignore[no-untyped-def]
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            _Writer(context, builder, sig, args, streams).write()
            return context.get_dummy_value()

        return types.void(*operand_types((sums, words, x, terms))), code

    return add


add_products = _products(STREAMS)
"""For terms (to, at, first, count, apart) add the sum over k < count and s < STREAMS of x[first + s * apart + k] times
the lower halves of words[at + (s * apart + k) * HALF:][:HALF] to sums[to:][:HALF], and times the upper halves to the
HALF sums behind them.

Arrays are flat: float32; bfloat16, of which words are counted, lower halves first; and float32 or bfloat16. Nothing is
bounds-checked."""
add_term = _products(1)
"""The same of one stream."""
