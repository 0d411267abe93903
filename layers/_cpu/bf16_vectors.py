"""AVX-512 vectors of bfloat16 pairs in numba's kernels, and the intrinsics that copy rows and pack them in pairs.

Arrays hold 2-byte elements, whatever numba takes them for; places and counts are those of elements. Elements that a
count leaves out are not read, zeros stand for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from netspec.layers._cpu.llvm_vectors import LONG, counted_loop, operand_types

LANES = 16
"""Floats, and pairs, of a vector."""
_BYTE, _HALF, _PAIR, _BIT = (ir.IntType(bits) for bits in (8, 16, 32, 1))
_SUMS, _PAIRS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(_PAIR, LANES)
_HALVES, _HALVES_OF_SUMS = ir.VectorType(_HALF, 2 * LANES), ir.VectorType(_HALF, LANES)


class _Bfloat(ir.types._BaseFloatType):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite does not name."""

    null, intrinsic_name = "0.0", "bf16"

    def __str__(self) -> str:
        return "bfloat"


_Bfloat._create_instance()
_BFLOATS = ir.VectorType(_Bfloat(), 2 * LANES)


class PairWriter:
    """Writes the code of one call.

    ``names`` name the arguments, those of a tuple with spaces between them; ``args`` holds arrays as pointers, of
    whose elements ``sizes`` has the bytes.
    """

    def __init__(self, context: Any, builder: Any, sig: Any, args: Any, names: Sequence[str]) -> None:
        self.builder, self.args, self.sizes = builder, dict[str, Any](), dict[str, int]()
        for name, kind, value in zip(names, sig.args, args, strict=True):
            if isinstance(kind, types.BaseTuple):
                parts = name.split()
                self.args |= {part: builder.extract_value(value, place) for place, part in enumerate(parts)}
            elif isinstance(kind, types.Array):
                self.args[name] = context.make_array(kind)(context, builder, value).data
                self.sizes[name] = context.get_abi_sizeof(context.get_data_type(kind.dtype))
            else:
                self.args[name] = value

    def call(self, name: str, result: Any, *args: Any) -> Any:
        """The result of one of LLVM's intrinsic functions."""
        kind = ir.FunctionType(result, [value.type for value in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), args)

    def whole(self, value: int) -> Any:
        """A constant."""
        return ir.Constant(LONG, value)

    def at(self, pointer: Any, offset: Any, size: int) -> Any:
        """The address of an element of so many bytes."""
        return self.builder.gep(pointer, [offset], source_etype=ir.IntType(8 * size))

    def spot(self, array: str, place: Any) -> Any:
        """The address of an array's element."""
        return self.at(self.args[array], place, self.sizes[array])

    def number(self, pointer: Any) -> Any:
        """A 64-bit integer from memory."""
        return self.builder.load(pointer, typ=LONG)

    def load(self, pointer: Any) -> Any:
        """A vector of float32."""
        return self.builder.load(pointer, align=4, typ=_SUMS)

    def half(self, pointer: Any) -> Any:
        """LANES halves."""
        return self.builder.load(pointer, align=2, typ=_HALVES_OF_SUMS)

    def pairs(self, pointer: Any) -> Any:
        """A vector of pairs."""
        return self.builder.load(pointer, align=4, typ=_PAIRS)

    def store(self, value: Any, pointer: Any) -> None:
        """Store a vector."""
        self.builder.store(value, self.builder.bitcast(pointer, value.type.as_pointer()), align=2)

    def fetch_to_write(self, pointer: Any) -> None:
        """Bring a cache line near that is written soon."""
        self.call("llvm.prefetch.p0", ir.VoidType(), pointer, _PAIR(1), _PAIR(3), _PAIR(1))

    def broadcast(self, pointer: Any) -> Any:
        """One pair, in all lanes."""
        value = self.builder.load(pointer, align=2, typ=_PAIR)
        one = self.builder.insert_element(ir.Constant(_PAIRS, ir.Undefined), value, _PAIR(0))
        return self.builder.shuffle_vector(one, ir.Constant(_PAIRS, ir.Undefined), ir.Constant(_PAIRS, None))

    def dot(self, total: Any, a: Any, b: Any) -> Any:
        """Float32 sums, each with the two products of a pair of a and one of b added."""
        a, b = (self.builder.bitcast(value, _BFLOATS) for value in (a, b))
        return self.call("llvm.x86.avx512bf16.dpbf16ps.512", _SUMS, total, a, b)

    def rounded(self, low: Any, high: Any) -> Any:
        """Two vectors of float32 as one of bfloat16, rounded to nearest, ties to even."""
        both = self.call("llvm.x86.avx512bf16.cvtne2ps2bf16.512", _BFLOATS, high, low)
        return self.builder.bitcast(both, _HALVES)

    def rounded_half(self, value: Any) -> Any:
        """One vector of float32 as half a vector of bfloat16."""
        first = ir.Constant(ir.VectorType(_PAIR, LANES), list(range(LANES)))
        return self.builder.shuffle_vector(self.rounded(value, value), ir.Constant(_HALVES, ir.Undefined), first)

    def either(self, *cases: tuple[Any, Any]) -> Any:
        """What the block that led here holds: (value, block)."""
        phi = self.builder.phi(cases[0][0].type)
        for value, block in cases:
            phi.add_incoming(value, block)
        return phi

    def loop(self, count: Any, state: list[Any], body: Callable[[list[Any]], list[Any]]) -> list[Any]:
        """``count`` times state = body(state)."""
        return counted_loop(self.builder, count, state, body)

    def some(self, pointer: Any, count: Any, kind: Any) -> Any:
        """The first ``count`` halves of a vector from memory, zeros behind them."""
        name, pointer = f"llvm.masked.load.v{kind.count}i16.p0", self.builder.bitcast(pointer, kind.as_pointer())
        return self.call(name, kind, pointer, _PAIR(2), self.first(count, kind.count), ir.Constant(kind, None))

    def first(self, count: Any, lanes: int) -> Any:
        """A mask of the first ``count`` lanes."""
        numbers = ir.Constant(ir.VectorType(LONG, lanes), list(range(lanes)))
        every = self.builder.insert_element(ir.Constant(numbers.type, ir.Undefined), count, _PAIR(0))
        zeros = ir.Constant(ir.VectorType(_PAIR, lanes), None)
        every = self.builder.shuffle_vector(every, ir.Constant(numbers.type, ir.Undefined), zeros)
        return self.builder.icmp_signed("<", numbers, every)

    def interleaved(self, one: Any, other: Any) -> Any:
        """Pairs of what two vectors of LANES halves hold."""
        order = [i // 2 + LANES * (i % 2) for i in range(2 * LANES)]
        return self.builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_PAIR, 2 * LANES), order))


def transposed(builder: Any, rows: Sequence[Any]) -> list[Any]:
    """Sixteen vectors of pairs as their sixteen columns, in four butterfly stages."""
    current = list(rows)
    for bit in (1, 2, 4, 8):  # each swaps one bit of the rows' numbers with that of the lanes'
        low = [lane if not lane & bit else LANES + (lane ^ bit) for lane in range(LANES)]
        high = [lane ^ bit if not lane & bit else LANES + lane for lane in range(LANES)]
        for i in (row for row in range(LANES) if not row & bit):
            one, other = current[i], current[i | bit]
            current[i], current[i | bit] = (
                builder.shuffle_vector(one, other, ir.Constant(_PAIRS, order)) for order in (low, high)
            )
    return current


def _written(names: tuple[str, ...], write: Callable[[PairWriter], None]) -> Any:
    """The typing and code of an intrinsic whose arguments have these names."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        write(PairWriter(context, builder, sig, args, names))
        return context.get_dummy_value()

    return code


@intrinsic
def copy(typing, source, target, terms):  # type: ignore[no-untyped-def]
    """target[to:][:count] = source[at:][:count], for terms (at, to, count); the two do not overlap."""

    def write(w: PairWriter) -> None:
        to, at, count = w.spot("target", w.args["to"]), w.spot("source", w.args["at"]), w.args["count"]
        w.call("llvm.memcpy.p0.p0.i64", ir.VoidType(), to, at, w.builder.mul(count, w.whole(2)), _BIT(0))

    return types.void(*operand_types((source, target, terms))), _written(("source", "target", "at to count"), write)


@intrinsic
def clear(typing, target, terms):  # type: ignore[no-untyped-def]
    """target[to:][:count] = 0, for terms (to, count)."""

    def write(w: PairWriter) -> None:
        count = w.builder.mul(w.args["count"], w.whole(2))
        w.call("llvm.memset.p0.i64", ir.VoidType(), w.spot("target", w.args["to"]), _BYTE(0), count, _BIT(0))

    return types.void(*operand_types((target, terms))), _written(("target", "to count"), write)


@intrinsic
def fetch(typing, source, place):  # type: ignore[no-untyped-def]
    """Bring the cache line of source[place] near, which may lie outside the array."""

    def write(w: PairWriter) -> None:
        spot = w.spot("source", w.args["place"])
        w.call("llvm.prefetch.p0", ir.VoidType(), spot, _PAIR(0), _PAIR(3), _PAIR(1))

    return types.void(source, types.intp), _written(("source", "place"), write)


@intrinsic
def interleave(typing, source, target, terms):  # type: ignore[no-untyped-def]
    """Sixteen pairs (source[at + i], source[at + below + i]) at target[to:], for terms (at, below, to, one, other).

    ``one`` elements of the first row and ``other`` of the second are read.
    """

    def write(w: PairWriter) -> None:
        builder, first = w.builder, w.spot("source", w.args["at"])
        second = w.at(first, w.args["below"], 2)
        whole = [builder.icmp_signed(">=", w.args[name], w.whole(LANES)) for name in ("one", "other")]
        with builder.if_else(builder.and_(*whole)) as (yes, no):  # masks take longer to make than all the rest
            with yes:
                all_of = [w.half(first), w.half(second)]
                then = builder.block
            with no:
                counts = zip((first, second), ("one", "other"), strict=True)
                some_of = [w.some(place, w.args[name], _HALVES_OF_SUMS) for place, name in counts]
                otherwise = builder.block
        rows = [w.either((one, then), (other, otherwise)) for one, other in zip(all_of, some_of, strict=True)]
        w.store(w.interleaved(*rows), w.spot("target", w.args["to"]))

    names = ("source", "target", "at below to one other")
    return types.void(*operand_types((source, target, terms))), _written(names, write)


@intrinsic
def transpose(typing, source, target, terms):  # type: ignore[no-untyped-def]
    """Pairs that lie side by side in sixteen rows, as rows of sixteen pairs: for terms (at, line, rows, count, to,
    apart) pair p of row r, source[at + r * line + 2 p:][:2], is put at target[to + p * apart + 2 r:].

    ``rows`` rows of ``count`` elements are read.
    """

    def write(w: PairWriter) -> None:
        builder, first, rows = w.builder, w.spot("source", w.args["at"]), []
        for r in range(LANES):
            inside = builder.icmp_signed("<", w.whole(r), w.args["rows"])
            count = builder.select(inside, w.args["count"], w.whole(0))
            row = w.at(first, builder.mul(w.args["line"], w.whole(r)), 2)
            rows.append(builder.bitcast(w.some(row, count, _HALVES), _PAIRS))
        target = w.spot("target", w.args["to"])
        for p, row in enumerate(transposed(builder, rows)):
            w.store(row, w.at(target, builder.mul(w.args["apart"], w.whole(p)), 2))

    names = ("source", "target", "at line rows count to apart")
    return types.void(*operand_types((source, target, terms))), _written(names, write)


@intrinsic
def put_rounded(typing, source, target, terms):  # type: ignore[no-untyped-def]
    """Up to sixteen float32 source[at:][:count] rounded to target[to:][:count], for terms (at, to, count).

    Sixteen are read.
    """

    def write(w: PairWriter) -> None:
        value = w.rounded_half(w.load(w.spot("source", w.args["at"])))
        pointer = w.builder.bitcast(w.spot("target", w.args["to"]), _HALVES_OF_SUMS.as_pointer())
        w.call("llvm.masked.store.v16i16.p0", ir.VoidType(), value, pointer, _PAIR(2), w.first(w.args["count"], LANES))

    return types.void(*operand_types((source, target, terms))), _written(("source", "target", "at to count"), write)
