"""The emulator's instructions, one by one, against numpy and against numbers worked out by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from emulated import apply, kernel, run

from netspec.emulate import Fault, Module
from netspec.emulate.instructions.rounding import fused

RNG = np.random.default_rng(7)
WHOLE = np.array([0, 1, 2, 3, 7, 31, 100, 2**15, 2**31 - 1, -1, -2, -7, -100, -(2**31), 12345, -54321], np.int32)
OTHER = np.array([1, -1, 3, 7, -3, 5, -9, 2, -2, 4, 3, 2, 13, 17, -100, 1000], np.int32)
FLOATS = np.array([0.0, -0.0, 1.5, -2.25, 1e-40, 3e38, -3e38, math.inf, -math.inf, math.nan, 0.1, 7.0], np.float32)
LATER = np.array([1.0, 0.0, -1.5, 2.25, 2.0, 3e38, 1.0, 1.0, math.inf, 1.0, math.nan, -7.0], np.float32)


def _same(got, want):
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    assert ((got == want) | ((got != got) & (want != want))).all(), (got, want)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("add.s32 %d, %a, %b;", lambda a, b: a + b),
        ("sub.s32 %d, %a, %b;", lambda a, b: a - b),
        ("mul.lo.s32 %d, %a, %b;", lambda a, b: a * b),
        ("mul.hi.s32 %d, %a, %b;", lambda a, b: (a.astype("i8") * b >> 32).astype("i4")),
        ("mad.lo.s32 %d, %a, %b, 5;", lambda a, b: a * b + np.int32(5)),
        ("min.s32 %d, %a, %b;", np.minimum),
        ("max.s32 %d, %a, %b;", np.maximum),
        ("div.s32 %d, %a, %b;", lambda a, b: _each(a, b, lambda x, y: math.trunc(Fraction(x, y)))),
        ("rem.s32 %d, %a, %b;", lambda a, b: _each(a, b, math.fmod)),
        ("and.b32 %d, %a, %b;", lambda a, b: a & b),
        ("or.b32 %d, %a, %b;", lambda a, b: a | b),
        ("xor.b32 %d, %a, %b;", lambda a, b: a ^ b),
        ("neg.s32 %d, %a;", lambda a, b: -a),
        ("abs.s32 %d, %a;", lambda a, b: np.abs(a)),
        ("not.b32 %d, %a;", lambda a, b: ~a),
        ("shl.b32 %d, %a, 3;", lambda a, b: a << 3),
        ("shr.s32 %d, %a, 40;", lambda a, b: a >> 31),
        ("shl.b32 %d, %a, 32;", lambda a, b: a * 0),
        ("setp.lt.s32 %p1, %a, %b; selp.b32 %d, 1, 0, %p1;", lambda a, b: (a < b).astype("i4")),
        ("setp.lt.u32 %p1, %a, %b; selp.b32 %d, 1, 0, %p1;", lambda a, b: (a.view("u4") < b.view("u4")).astype("i4")),
        ("lop3.b32 %d, %a, %b, 255, 0xe8;", lambda a, b: (a & b) | (a & 255) | (b & 255)),
    ],
)
def test_whole_numbers(text, reference):
    with np.errstate(over="ignore"):
        _same(apply(text, WHOLE, OTHER, out="i4"), reference(WHOLE, OTHER).astype("i4"))


def _each(a, b, function):
    results = [int(function(int(x), int(y))) for x, y in zip(a, b, strict=True)]
    return np.array([(one + 2**31) % 2**32 - 2**31 for one in results])


def test_shifts_take_the_width_at_most():
    amounts = np.array([0, 1, 31, 32, 33, 2**32 - 1], np.uint32)
    value = np.full(6, -8, np.int32)
    _same(apply("shr.s32 %d, %a, %b;", value, amounts, out="i4"), np.array([-8, -4, -1, -1, -1, -1], np.int32))
    _same(apply("shr.u32 %d, %a, %b;", value, amounts, out="u4"), _unsigned([-8, 2**31 - 4, 1, 0, 0, 0]))
    _same(apply("shl.b32 %d, %a, %b;", value, amounts, out="u4"), _unsigned([-8, -16, 0, 0, 0, 0]))


def _unsigned(numbers):
    return np.array([one % 2**32 for one in numbers], np.uint32)


def test_wide_products():
    a, b = RNG.integers(-(2**63), 2**63, 64), RNG.integers(-(2**63), 2**63, 64)
    a[:4], b[:4] = [-(2**63), -1, 2**63 - 1, 0], [-(2**63), 2**63 - 1, -1, 5]
    exact = [int(x) * int(y) for x, y in zip(a, b, strict=True)]
    _same(apply("mul.hi.s64 %d, %a, %b;", a, b, out="i8"), np.array([one >> 64 for one in exact]))
    u, v = a.view(np.uint64), b.view(np.uint64)
    high = np.array([int(x) * int(y) >> 64 for x, y in zip(u, v, strict=True)], np.uint64)
    _same(apply("mul.hi.u64 %d, %a, %b;", u, v, out="u8"), high)
    _same(apply("mul.wide.s32 %d, %a, %b;", WHOLE, OTHER, out="i8"), WHOLE.astype("i8") * OTHER)
    _same(
        apply("mad.wide.u32 %d, %a, 3, %b;", WHOLE.view("u4"), u[:16], out="u8"),
        WHOLE.view("u4") * np.uint64(3) + u[:16],
    )


def test_fields_of_bits():
    a = np.array([0x12345678, 0xF0000000, 0xFFFFFFFF, 0x00000080], np.uint32)
    _same(apply("bfe.u32 %d, %a, 4, 8;", a, out="u4"), np.array([0x67, 0, 0xFF, 8], np.uint32))
    _same(apply("bfe.s32 %d, %a, 24, 16;", a, out="i4"), np.array([0x12, -16, -1, 0], np.int32))
    _same(apply("bfe.s32 %d, %a, 7, 1;", a, out="i4"), np.array([0, 0, -1, -1], np.int32))
    _same(apply("bfi.b32 %d, %a, 0, 8, 4;", a, out="u4"), np.array([0x800, 0, 0xF00, 0], np.uint32))
    _same(apply("prmt.b32 %d, %a, 0x99aabbcc, 0x7502;", a, out="u4")[:1], np.array([0x99BB7834], np.uint32))
    _same(apply("prmt.b32 %d, %a, 0, 0x8888;", np.array([0x80, 0x7F], np.uint32), out="u4"), _unsigned([-1, 0]))
    _same(apply("popc.b32 %d, %a;", a, out="u4"), np.array([13, 4, 32, 1], np.uint32))
    _same(apply("clz.b32 %d, %a;", a, out="u4"), np.array([3, 0, 0, 24], np.uint32))
    _same(apply("brev.b32 %d, %a;", a, out="u4"), np.array([0x1E6A2C48, 0xF, 2**32 - 1, 2**24], np.uint32))
    _same(apply("shf.l.wrap.b32 %d, %a, %b, 8;", a, a[::-1].copy(), out="u4")[:1], np.array([0x00008012], np.uint32))


@pytest.mark.parametrize(
    ("word", "reference"),
    [
        ("add", lambda a, b: a + b),
        ("sub", lambda a, b: a - b),
        ("mul", lambda a, b: a * b),
        ("div.rn", lambda a, b: a / b),
        ("max", np.fmax),
        ("min", np.fmin),
        ("max.NaN", np.maximum),
        ("min.NaN", np.minimum),
        ("copysign", lambda a, b: np.copysign(b, a)),
    ],
)
def test_floats(word, reference):
    with np.errstate(all="ignore"):
        _same(apply(f"{word}.f32 %d, %a, %b;", FLOATS, LATER, out="f4"), reference(FLOATS, LATER))


def test_zeros_have_an_order():
    plus, minus = np.zeros(2, np.float32), -np.zeros(2, np.float32)
    assert not np.signbit(apply("max.f32 %d, %a, %b;", minus, plus, out="f4")).any()
    assert np.signbit(apply("min.f32 %d, %a, %b;", plus, minus, out="f4")).all()


def test_minima_and_maxima_of_nan_alone_are_the_canonical_one():
    other = np.array([0x7FC00001, 0xFFC00000], np.uint32).view(np.float32)
    for word in ("max.f32", "min.f32", "max.NaN.f32", "min.NaN.f32"):
        assert (apply(f"{word} %d, %a, %b;", other, other[::-1].copy(), out="f4").view("u4") == 0x7FFFFFFF).all()


def test_comparisons_of_what_is_no_number():
    words = {"eq": 0, "ne": 0, "lt": 0, "ge": 0, "equ": 1, "neu": 1, "ltu": 1, "geu": 1, "num": 0, "nan": 1}
    for word, holds in words.items():
        text = f"setp.{word}.f32 %p1, %a, %b; selp.b32 %d, 1, 0, %p1;"
        got = apply(text, np.array([math.nan, 1.0], np.float32), np.array([1.0, 1.0], np.float32), out="u4")
        ordinary = {"eq": 1, "ne": 0, "lt": 0, "ge": 1, "nu": 0, "nan": 0}.get(
            word.rstrip("u") if word != "num" else "", 1
        )
        assert got[0] == holds and got[1] == (0 if word == "neu" else ordinary), word


def test_flush_and_saturation():
    got = apply("add.ftz.f32 %d, %a, 0f80000000;", np.array([1e-40, -1e-40, 1.0], np.float32), out="f4")
    _same(got, np.array([0.0, -0.0, 1.0], np.float32))
    assert np.signbit(got[1])
    got = apply("add.sat.f32 %d, %a, 0f00000000;", np.array([2.0, -1.0, 0.5, math.nan], np.float32), out="f4")
    _same(got, np.array([1.0, 0.0, 0.5, 0.0], np.float32))


def test_fused_multiply_add_rounds_once():
    a, b, c = (RNG.normal(size=2000).astype(np.float32) for _ in range(3))
    c[:1000] *= np.float32(2.0**-24)  # sums next to the middle between two float32
    a[:500], b[:500] = np.float32(1 + 2.0**-12), np.float32(1 + 2.0**-12)
    c[:250] *= np.float32(2.0**-36)  # so near that float64 has the middle
    a[1950:], b[1950:] = np.float32(2.0**-75 * (1 + 2.0**-23)), np.float32(2.0**-75 * (1 - 2.0**-23))
    c[1950:] = np.float32(2.0**-149) * RNG.integers(1, 1 << 20, 50)  # the same of subnormal numbers
    c[1900:1950] = 0
    for mode in ("rn", "rm", "rp", "rz"):
        got = np.concatenate([fused(*part, mode) for part in np.split(np.stack([a, b, c]), 40, axis=1)])
        for x, y, z, d in zip(a, b, c, got, strict=True):
            assert d == _rounded(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)), mode), mode
    _same(apply("fma.rn.f32 %d, %a, %b, %c;", a[:64], b[:64], c[:64], out="f4"), fused(a[:64], b[:64], c[:64], "rn"))


def _rounded(exact, mode):
    """By hand: the two float32 around a fraction, and which of them it is."""
    near = np.float32(float(exact))
    low = near if Fraction(float(near)) <= exact else np.nextafter(near, np.float32(-np.inf))
    if Fraction(float(low)) == exact:
        return low
    high = np.nextafter(low, np.float32(np.inf))
    if mode in ("rm", "rp"):
        return low if mode == "rm" else high
    if mode == "rz":
        return low if exact > 0 else high
    below, above = exact - Fraction(float(low)), Fraction(float(high)) - exact
    if below == above:
        return low if low.view(np.uint32) % 2 == 0 else high
    return low if below < above else high


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("ex2.approx.ftz.f32 %d, %a;", np.exp2),
        ("lg2.approx.f32 %d, %a;", np.log2),
        ("rsqrt.approx.ftz.f32 %d, %a;", lambda x: 1 / np.sqrt(x)),
        ("rcp.rn.f32 %d, %a;", lambda x: 1 / x),
        ("rcp.approx.ftz.f32 %d, %a;", lambda x: 1 / x),
        ("sqrt.rn.f32 %d, %a;", np.sqrt),
        ("sin.approx.f32 %d, %a;", np.sin),
        ("cos.approx.f32 %d, %a;", np.cos),
        ("tanh.approx.f32 %d, %a;", np.tanh),
        ("div.full.f32 %d, 0f3f800000, %a;", lambda x: 1 / x),
    ],
)
def test_functions(text, reference):
    x = np.linspace(0.1, 9, 50, dtype=np.float32)
    np.testing.assert_allclose(apply(text, x, out="f4"), reference(x.astype("f8")), rtol=1e-7)


def test_conversions():
    x = np.array([0.5, 1.5, -0.5, -1.5, 2.5, 3e9, -3e9, math.nan, 0.49, -2.51], np.float32)
    for mode, function in {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}.items():
        want = np.nan_to_num(np.clip(function(x.astype("f8")), -(2.0**31), 2.0**31 - 1), nan=0.0).astype("i4")
        _same(apply(f"cvt.{mode}.s32.f32 %d, %a;", x, out="i4"), want)
        _same(apply(f"cvt.{mode}.f32.f32 %d, %a;", x, out="f4"), function(x))
    _same(apply("cvt.rn.f32.s32 %d, %a;", WHOLE, out="f4"), WHOLE.astype("f4"))
    _same(apply("cvt.rn.f32.s64 %d, %a;", np.array([2**62 + 2**38 + 1]), out="f4"), np.float32([2**62 + 2**39]))
    _same(apply("cvt.s64.s32 %d, %a;", WHOLE, out="i8"), WHOLE.astype("i8"))
    _same(apply("cvt.u64.u32 %d, %a;", WHOLE.view("u4"), out="u8"), WHOLE.view("u4").astype("u8"))
    _same(apply("cvt.u32.u64 %d, %a;", np.array([2**40 + 7], np.uint64), out="u4"), np.array([7], np.uint32))
    _same(apply("cvt.s32.s8 %d, %a;", np.array([0x80, 0x17F], np.uint32), out="i4"), np.array([-128, 127], np.int32))
    _same(apply("cvt.sat.f32.f32 %d, %a;", x[:4], out="f4"), np.array([0.5, 1, 0, 0], np.float32))
    _same(apply("cvt.rn.f32.f64 %d, %a;", np.array([0.1]), out="f4"), np.float32([0.1]))
    _same(apply("cvt.f64.f32 %d, %a;", np.float32([0.1]), out="f8"), np.float64(np.float32([0.1])))


def test_tensor_formats():
    """rna to tf32 keeps 10 bits, ties away from zero; rn to bf16 keeps 7, ties to even, the first source on top."""
    x = np.array([1 + 2.0**-11, 1 + 3 * 2.0**-11, -1 - 2.0**-11, 1 + 2.0**-12, math.inf, math.nan], np.float32)
    got = apply("cvt.rna.tf32.f32 %d, %a;", x, out="u4")
    want = np.array([1 + 2.0**-10, 1 + 2.0**-9, -1 - 2.0**-10, 1.0, math.inf], np.float32)
    _same(got[:5].view("f4"), want)
    assert np.isnan(got[5:].view("f4")).all()
    tie = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, math.nan], np.float32)
    got = apply("cvt.rn.bf16x2.f32 %d, %a, %b;", tie, np.full(3, -2.0, np.float32), out="u4")
    _same(got, np.array([0x3F80C000, 0x3F82C000, 0x7FFFC000], np.uint32))


def test_atomics_take_turns():
    """Thirty-two threads add, count down and swap: each gets what the one before has left."""
    body = """mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd2, %rd3; atom.global.add.u32 %r2, [%rd1], %r1;
    red.global.max.s32 [%rd1+4], %r1; atom.global.inc.u32 %r3, [%rd1+8], 4; atom.global.cas.b32 %r4, [%rd1+12], 0, 9;
    st.global.u32 [%rd4], %r2;"""
    sums, before = run(body, np.array([100, 5, 0, 0], np.uint32), 4 * 32)
    _same(sums, np.array([100 + 496, 31, 2, 9], np.uint32))
    _same(before.view("u4"), (100 + np.cumsum(np.arange(32)) - np.arange(32)).astype("u4"))
    with pytest.raises(Fault, match=r"race: global memory .* written by .* and changed atomically by"):
        run(body + "st.global.u32 [%rd1], 0;", np.zeros(4, np.uint32), 4 * 32)


def test_numbers_in_several_registers():
    a, b = RNG.integers(0, 2**64, (2, 40), np.uint64)
    a[:2], b[:2] = 2**64 - 1, [1, 2**64 - 1]
    halves = "mov.b64 {%r20, %r21}, %a; mov.b64 {%r22, %r23}, %b; "
    end = " mov.b64 %d, {%r24, %r25};"
    add = halves + "add.cc.u32 %r24, %r20, %r22; addc.u32 %r25, %r21, %r23;" + end
    _same(apply(add, a, b, out="u8"), a + b)
    _same(apply(halves + "sub.cc.u32 %r24, %r20, %r22; subc.u32 %r25, %r21, %r23;" + end, a, b, out="u8"), a - b)
    mad = "mul.lo.u32 %r24, %r20, %r22; mul.hi.u32 %r25, %r20, %r22; mad.lo.cc.u32 %r24, %r20, 7, %r24; "
    small = a & np.uint64(2**32 - 1), b & np.uint64(2**32 - 1)
    _same(
        apply(halves + mad + "madc.hi.u32 %r25, %r20, 7, %r25;" + end, *small, out="u8"),
        small[0] * small[1] + small[0] * np.uint64(7),
    )


FUNCTION = """.func (.param .b32 given) halved (.param .b32 first, .param .align 8 .b8 more[16]);
.func (.param .b32 given) halved (.param .b32 first, .param .align 8 .b8 more[16])
{ .reg .b32 %r<9>; .reg .pred %p<3>; ld.param.u32 %r1, [first]; ld.param.u32 %r2, [more+8]; mov.u32 %r3, 0;
LOOP: setp.lt.u32 %p1, %r1, %r2; @%p1 bra DONE; sub.u32 %r1, %r1, %r2; add.u32 %r3, %r3, 1; bra LOOP;
DONE: setp.ne.u32 %p2, %r1, 0; @%p2 bra ODD; st.param.b32 [given], %r3; ret;
ODD: st.param.b32 [given+0], 1000; ret; }"""
CALL = """{{ .param .b32 param0; st.param.b32 [param0], {}; .param .align 8 .b8 param1[16]; st.param.b32 [param1+8], {};
.param .b32 retval0; call.uni (retval0), halved, (param0, param1); ld.param.b32 {}, [retval0]; }}"""


def test_functions_are_called():
    """Division by subtraction, called twice: half of each thread's number, and half of that for every fourth."""
    body = CALL.format("%r1", 2, "%r2") + "setp.eq.u32 %p1, %r2, 1000; @%p1 bra ODD;" + CALL.format("%r2", 2, "%r3")
    body += (
        "add.u32 %r2, %r3, 100; ODD: mul.wide.u32 %rd2, %r1, 4; add.u64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r2;"
    )
    (got,) = run(body, 4 * 16, threads=16, before=FUNCTION)
    want = [1000 if i % 2 else 1100 if i % 4 else 100 + i // 4 for i in range(16)]
    _same(got.view("u4"), np.array(want, np.uint32))
    with pytest.raises(Fault, match="not in the module"):
        Module(kernel(CALL.format("%r1", 2, "%r2")))


def test_volatile_accesses_are_no_race_with_atomics():
    """A maximum by compare and swap, as it is made where there is no instruction for it."""
    body = """cvt.rn.f32.u32 %f1, %r1; mov.b32 %r2, %f1; AGAIN: ld.volatile.global.f32 %f2, [%rd1];
    setp.ge.f32 %p1, %f2, %f1; @%p1 bra DONE; mov.b32 %r3, %f2; atom.global.cas.b32 %r4, [%rd1], %r3, %r2;
    setp.ne.u32 %p2, %r3, %r4; @%p2 bra AGAIN; DONE:"""
    (got,) = run(body, np.zeros(1, np.float32))
    assert got[0] == 31
    with pytest.raises(Fault, match="race"):
        run(body.replace("ld.volatile", "ld"), np.zeros(1, np.float32))


def test_moves_between_wide_registers_and_parts():
    a = np.array([0x1122334455667788, 5], np.uint64)
    got = apply("mov.b64 {%r20, %r21}, %a; mov.b64 %d, {%r21, %r20};", a, out="u8")
    _same(got, a << np.uint64(32) | a >> np.uint64(32))


def test_a_guard_holds_back_what_it_does_not_hold_for():
    a = np.arange(8, dtype=np.uint32)
    got = apply("setp.lt.u32 %p1, %a, 3; mov.u32 %d, 9; @%p1 add.u32 %d, %a, 100; @!%p1 mov.u32 %d, 1;", a, out="u4")
    _same(got, np.array([100, 101, 102, 1, 1, 1, 1, 1], np.uint32))


@pytest.mark.parametrize(
    "text",
    [
        "frobnicate.u32 %r2, %r1;",
        "add.cc.u64 %rd2, %rd1, 1;",
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r1}, {%r1}, {%r1}, {%r1};",
        "cvt.rn.f16x2.f32.extra %r1, %f1;",
        "bar.red.popc.u32 %r2, 0, %p1;",
        "ld.weird.u32 %r2, [%rd1];",
        "call (%r1), f, (%r2);",
    ],
)
def test_what_is_not_known_is_refused_when_it_is_read(text):
    with pytest.raises(Fault, match="line 10 of the PTX"):
        Module(kernel(text))


def test_special_registers_and_shapes():
    body = """mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.s32 %r4, %r2, %r3, %r1; mul.wide.u32 %rd2, %r4, 4;
    add.u64 %rd3, %rd1, %rd2; mov.u32 %r5, %laneid; mov.u32 %r6, %nctaid.x; mad.lo.u32 %r7, %r6, 100, %r5;
    st.global.u32 [%rd3], %r7;"""
    (got,) = run(body, 4 * 120, threads=40, blocks=3)
    lanes = np.arange(40) % 32
    _same(got.view("u4"), np.tile(300 + lanes, 3).astype("u4"))


def test_jumps_loops_and_threads_that_leave_early():
    """Thread i sums 1 ... i in a loop of its own length; those above 20 leave at once."""
    body = """mov.u32 %r2, 0; mov.u32 %r3, 0; setp.gt.u32 %p2, %r1, 20; @%p2 ret;
    LOOP: setp.ge.u32 %p1, %r2, %r1; @%p1 bra DONE; add.u32 %r2, %r2, 1; add.u32 %r3, %r3, %r2; bra.uni LOOP;
    DONE: mul.wide.u32 %rd2, %r1, 4; add.u64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r3;"""
    (got,) = run(body, np.full(32, 999, np.uint32))
    _same(got, np.array([i * (i + 1) // 2 if i <= 20 else 999 for i in range(32)], np.uint32))


def test_an_inner_scope_has_names_of_its_own():
    body = """mov.u32 %r2, 1; { .reg .pred p; .reg .b32 %r2; mov.u32 %r2, 50; setp.eq.u32 p, %r1, 0; @p bra L;
    add.u32 %r2, %r2, 1; L: mov.u32 %r3, %r2; } { .reg .pred p; setp.ne.u32 p, %r1, 0; @p bra L;
    add.u32 %r3, %r3, 100; L: }
    add.u32 %r4, %r3, %r2; mul.wide.u32 %rd2, %r1, 4; add.u64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r4;"""
    (got,) = run(body, 4 * 32)
    _same(got.view("u4"), np.array([151] + [52] * 31, np.uint32))
