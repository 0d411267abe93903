"""Intrinsics for instructions of NVIDIA GPUs that numba.cuda lacks, as inline PTX: float4, cp.async, mma, shuffles.

Arrays have elements of 4 bytes unless said otherwise; an ``index`` counts elements through the array's memory,
whatever its shape. 128-bit accesses need an address that is a multiple of 16 bytes.

Vectors: ``load4(array, index)`` gives elements index ... index + 3 as a tuple, ``store4(array, index, a, b, c, d)``
writes them; in global or shared memory, for elements of any size, which decides the access's. Of an array that is
stored as bfloat16 they are four float32, and 8 bytes of memory. ``copy16(target, place, source, index)`` copies 16
bytes between arrays of bytes.

``store_relaxed(array, index, value)`` writes an int32 that other threads write too, at any time: one of them is last,
which without it nothing promises. In global memory.

Numbers: ``rsqrt(x)`` is 1 / sqrt(x) of a float32, off by no more than 2 ** -22.4 of it; ``quotient(i, n)`` is i // n
of whole numbers from 0 to 2 ** 32 - 1 as an int32, several times faster than that of 64 bits; ``scaled(i, factor,
shift)`` is i * factor >> shift as an int32, of an i and a factor from 0 to 2 ** 32 - 1. ``opaque(i)`` is the int32
itself, as a number that the compiler keeps: it does not find it anew from what it was made of.

Shuffles: ``shuffle_xor(value, lanes)`` gives the value of the thread whose lane differs in those bits,
``shuffle_down(value, lanes)`` that of the thread so many lanes on (its own beyond the last) and ``shuffle_up`` that of
the thread so many lanes before (its own beyond the first); for float32 and int32.
Every thread of the warp must come by, in a block of whole warps.

Asynchronous copies: ``cp_async16(target, place, source, index, count)`` fills 4 elements of shared memory with
the first ``count`` (0 to 4) of global memory and zeros behind; ``cp_async8`` does 2, ``cp_async4`` 1. Aligned to their
own size. Nothing is read where count is 0. A bool as the count means all or none, which is faster.
Of an array that is stored as bfloat16 they bring 8, 4 and 2 elements, as they lie; shared memory is counted in 4 bytes.
``cp_async_commit()`` closes a group of copies, ``cp_async_wait(pending)``, with a literal, waits until at most so many
groups are under way; others see the data after ``cuda.syncthreads()``.

Matrices, in which all 32 threads of a warp take part (PTX ISA 9.7.14):

- ``mma_tf32(a, b, c)``: a (16, 8) times b (8, 8) plus c (16, 8), tuples of 4 and 2 uint32 (``to_tf32``) and 4 float32;
- ``mma_bf16(a, b, c)``: the same with 16 terms, two in each uint32 (``to_bf16x2(low, high)``);
- ``paired(low, high)``: the same two, in the bits of a float32, for arrays in shared memory;
- ``ldmatrix(array, index)``: four 8 x 8 matrices of 2-byte elements from shared memory as 4 uint32; lane 8 i + r gives
  the index of row r of matrix i. ``ldmatrix_trans`` transposes each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from netspec.kernels.inline_ptx import (
    address,
    architecture,
    asm,
    convert_bf16x2,
    float32,
    pack,
    pointer,
    uint32,
    unpack,
    vector_pointer,
    void,
)
from netspec.kernels.numba_cuda import intrinsic, named_intrinsic, types
from netspec.kernels.stored_arrays import holds_bfloat16
from netspec.kernels.stored_bfloat16 import load_four, read_as, refuse_bfloat16, store_four


def _alignment(array: Any) -> int:
    """The alignment of a vector of four elements, at most 16 bytes."""
    return min(array.dtype.bitwidth // 2, 16)  # type: ignore[no-any-return]


@intrinsic
def load4(_, array, index):  # type: ignore[no-untyped-def]
    """Four neighbouring elements at once."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        if holds_bfloat16(array):
            parts = load_four(builder, pointer(context, builder, signature.args[0], *args))
        else:
            place = vector_pointer(context, builder, signature.args[0], *args)
            parts = unpack(builder, builder.load(place, align=_alignment(array)), 4)
        return pack(context, builder, signature, parts)

    return types.UniTuple(read_as(array), 4)(array, types.int64), generate


@intrinsic
def store4(_, array, index, a, b, c, d):  # type: ignore[no-untyped-def]
    """Write four neighbouring elements at once."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        if holds_bfloat16(array):
            store_four(builder, pointer(context, builder, signature.args[0], *args[:2]), args[2:])
            return context.get_dummy_value()
        place = vector_pointer(context, builder, signature.args[0], *args[:2])
        value = place.type.pointee(None)
        for number, part in enumerate(args[2:]):
            value = builder.insert_element(value, part, uint32(number))
        builder.store(value, place, align=_alignment(array))
        return context.get_dummy_value()

    return types.void(array, types.int64, *[read_as(array)] * 4), generate


@intrinsic
def copy16(_, target, place, source, index):  # type: ignore[no-untyped-def]
    """Sixteen bytes from one array of bytes to another."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        arrays = signature.args
        kind = ir.PointerType(ir.VectorType(uint32, 4))
        to, of = (builder.bitcast(pointer(context, builder, arrays[k], *args[k : k + 2]), kind) for k in (0, 2))
        builder.store(builder.load(of, align=16), to, align=16)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), generate


@intrinsic
def store_relaxed(_, array, index, value):  # type: ignore[no-untyped-def]
    """A relaxed store: no race with other threads' stores to the element."""
    refuse_bfloat16("store_relaxed", array)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        place = address(builder, pointer(context, builder, signature.args[0], *args[:2]))
        text = "st.relaxed.gpu.global.u32 [$0], $1;"
        asm(builder, text, void, [place, args[2]], "l,r,~{memory}", moves=False)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int32), generate


@intrinsic
def rsqrt(_, value):  # type: ignore[no-untyped-def]
    """1 / sqrt(value), approximate."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return asm(builder, "rsqrt.approx.ftz.f32 $0, $1;", float32, args, "=f,f")

    return types.float32(types.float32), generate


@intrinsic
def quotient(_, i, n):  # type: ignore[no-untyped-def]
    """i // n in 32 bits without a sign; there is no check of n."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.udiv(*args)

    return types.int32(types.uint32, types.uint32), generate


@intrinsic
def scaled(_, i, factor, shift):  # type: ignore[no-untyped-def]
    """i * factor >> shift, the product in 64 bits."""
    text = "{ .reg .u64 t; mul.wide.u32 t, $1, $2; shr.u64 t, t, $3; cvt.u32.u64 $0, t; }"

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return asm(builder, text, uint32, args, "=r,r,r,r")

    return types.int32(types.uint32, types.uint32, types.uint32), generate


@intrinsic
def opaque(_, value):  # type: ignore[no-untyped-def]
    """The same number, hidden from the optimiser."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return asm(builder, "mov.b32 $0, $1;", uint32, args, "=r,r")

    return types.int32(types.int32), generate


_SHUFFLES = {"bfly": "shuffle_xor", "down": "shuffle_down", "up": "shuffle_up"}


def _shuffle(kind: str, bound: str) -> Any:
    text = f"shfl.sync.{kind}.b32 $0, $1, $2, {bound}, 0xffffffff;"

    def define(_, value, lanes):  # type: ignore[no-untyped-def]
        letter = "f" if value == types.float32 else "r"

        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return asm(builder, text, args[0].type, args, f"={letter},{letter},r", moves=False)

        return value(value, types.int32), generate

    return named_intrinsic(define, _SHUFFLES[kind])


shuffle_xor, shuffle_down, shuffle_up = _shuffle("bfly", "0x1f"), _shuffle("down", "0x1f"), _shuffle("up", "0x0")


def async_copy(size: int, cache: str, name: str) -> Any:
    """The intrinsic of cp.async of so many bytes, through L1 ("ca") or past it ("cg", 16 bytes only)."""

    def define(_, target, place, source, index, count):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            array, start, origin, first, elements = args
            shared = address(builder, pointer(context, builder, signature.args[0], array, start), shared=True)
            data = address(builder, pointer(context, builder, signature.args[2], origin, first))
            text = f"cp.async.{cache}.shared.global [$0], [$1], {size}, $2;"
            given = builder.zext(elements, uint32) if whole else builder.mul(elements, uint32(width))
            if whole:  # a predicate that says whether to ignore the source
                text = f"{{ .reg .pred none; setp.eq.u32 none, $2, 0; {text.replace('$2', 'none')} }}"
            asm(builder, text, void, [shared, data, given], "r,l,r,~{memory}", moves=False)
            return context.get_dummy_value()

        refuse_bfloat16(name, target)
        whole, width = isinstance(count, types.Boolean), 2 if holds_bfloat16(source) else 4
        return types.void(target, types.int64, source, types.int64, count if whole else types.int32), generate

    return named_intrinsic(define, name)


cp_async4, cp_async8 = async_copy(4, "ca", "cp_async4"), async_copy(8, "ca", "cp_async8")
cp_async16 = async_copy(16, "cg", "cp_async16")


@intrinsic
def cp_async_commit(_):  # type: ignore[no-untyped-def]
    """Commit a group of asynchronous copies."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        asm(builder, "cp.async.commit_group;", void, [], "~{memory}", moves=False)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def cp_async_wait(_, pending):  # type: ignore[no-untyped-def]
    """Wait until at most ``pending`` groups of copies, a literal, are in flight."""
    if not isinstance(pending, types.IntegerLiteral):
        return None  # the compiler asks again with the literal, where it is one
    groups = pending.literal_value

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        asm(builder, f"cp.async.wait_group {groups};", void, [], "~{memory}", moves=False)
        return context.get_dummy_value()

    return types.void(pending), generate


def convert_tf32(builder: Any, value: Any) -> Any:
    """Generate a rounding to tf32: from compute capability 9.0 on one instruction, before that three."""
    even, away = (asm(builder, f"cvt.{ties}.tf32.f32 $0, $1;", uint32, [value], "=r,f") for ties in ("rn", "rna"))
    return builder.select(builder.icmp_unsigned(">=", architecture(builder), uint32(900)), even, away)


@intrinsic
def to_tf32(_, value):  # type: ignore[no-untyped-def]
    """A float32 with 10 bits of mantissa, rounded to the nearest; ties to even, or away from zero before Hopper."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return convert_tf32(builder, *args)

    return types.uint32(types.float32), generate


@intrinsic
def to_bf16x2(_, low, high):  # type: ignore[no-untyped-def]
    """Two float32 as bfloat16 side by side, rounded to the nearest, ties to even."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return convert_bf16x2(builder, *args)

    return types.uint32(types.float32, types.float32), generate


@intrinsic
def paired(_, low, high):  # type: ignore[no-untyped-def]
    """Two float32 as bfloat16 side by side, in the bits of a float32."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(convert_bf16x2(builder, *args), float32)

    return types.float32(types.float32, types.float32), generate


MMA = {
    "tf32": "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    "bf16": "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
}
"""The matrix instruction of a precision."""


def multiply_add(builder: Any, precision: str, a: Sequence[Any], b: Sequence[Any], c: Sequence[Any]) -> list[Any]:
    """Generate one matrix instruction: 4 and 2 uint32 and 4 float32 values give 4 float32 values."""
    text = f"{MMA[precision]} {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$10,$11,$12,$13}};"
    return asm(builder, text, [float32] * 4, [*a, *b, *c], "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f")  # type: ignore[no-any-return]


def _mma(precision: str) -> Any:
    def define(_, a, b, c):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            parts = (unpack(builder, whole, count) for whole, count in zip(args, (4, 2, 4), strict=True))
            return pack(context, builder, signature, multiply_add(builder, precision, *parts))

        four, two, sums = (
            types.UniTuple(types.uint32, 4), types.UniTuple(types.uint32, 2), types.UniTuple(types.float32, 4),
        )  # fmt: skip
        return sums(four, two, sums), generate

    return named_intrinsic(define, f"mma_{precision}")


mma_tf32, mma_bf16 = _mma("tf32"), _mma("bf16")


def load_matrices(builder: Any, place: Any, option: str = "") -> list[Any]:
    """Generate one ldmatrix: 4 uint32 values."""
    text = f"ldmatrix.sync.aligned.m8n8.x4{option}.shared.b16 {{$0,$1,$2,$3}}, [$4];"
    shared = address(builder, place, shared=True)
    return asm(builder, text, [uint32] * 4, [shared], "=r,=r,=r,=r,r,~{memory}", moves=False)  # type: ignore[no-any-return]


def _ldmatrix(name: str, option: str) -> Any:
    def define(_, array, index):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            parts = load_matrices(builder, pointer(context, builder, signature.args[0], *args), option)
            return pack(context, builder, signature, parts)

        return types.UniTuple(types.uint32, 4)(array, types.int64), generate

    return named_intrinsic(define, name)


ldmatrix, ldmatrix_trans = _ldmatrix("ldmatrix", ""), _ldmatrix("ldmatrix_trans", ".trans")
