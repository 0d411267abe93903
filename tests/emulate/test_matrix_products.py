"""wgmma on the emulator in PTX written by hand: descriptors, swizzling, fragments, what must come before and after."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import kernel, run

from netspec.emulate import Fault, Module

RNG = np.random.default_rng(11)
COLUMNS, SUMS = 16, 8
WIDTHS = {0: 16, 1: 128, 2: 64, 3: 32}
"""Bytes of a row in a pattern, by the swizzling mode."""
SWAPS = {0: "0" * 8, 1: "01234567", 2: "00112233", 3: "00001111"}
"""What a unit's number is exclusive-ored with, by the row's in its pattern of eight: the ISA's figures."""
AHEAD = """mul.wide.u32 %rd4, %r1, 16; mov.u64 %rd5, tile; add.u64 %rd6, %rd1, %rd4; add.u64 %rd7, %rd5, %rd4;
mov.u32 %r2, 0;
COPY: ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd6]; st.shared.v4.u32 [%rd7], {%r3, %r4, %r5, %r6};
add.u64 %rd6, %rd6, 2048; add.u64 %rd7, %rd7, 2048; add.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, ROUNDS; @%p1 bra COPY;"""
LAST = """mul.wide.u32 %rd4, %r1, 32; add.u64 %rd6, %rd2, %rd4; st.global.v4.f32 [%rd6], {%f0, %f1, %f2, %f3};
st.global.v4.f32 [%rd6+16], {%f4, %f5, %f6, %f7};"""
FENCE, MEET, ORDER = "fence.proxy.async.shared::cta;", "bar.sync 0;", "wgmma.fence.sync.aligned;"
COMMIT, WAIT = "wgmma.commit_group.sync.aligned;", "wgmma.wait_group.sync.aligned 0;"
GOOD = (FENCE, MEET, ORDER, "PRODUCT", COMMIT, WAIT)


def _laid(matrix, mode):
    """Rows of 32 bytes where a descriptor of that mode says, and the offsets of its fields."""
    rows = len(matrix)
    width = WIDTHS[mode]
    memory = np.full(rows * max(width, 32), 0xA5, np.uint8)
    units = np.ascontiguousarray(matrix).view(np.uint8).reshape(rows, 2, 16)
    for row in range(rows):
        for unit in range(2):
            if mode == 0:
                place = unit * rows * 16 + row * 16
            else:
                place = row * width + (unit ^ int(SWAPS[mode][row % 8])) * 16
            memory[place : place + 16] = units[row, unit]
    return memory, (rows * 16, 128) if mode == 0 else (16, 8 * width)


def _descriptor(start, leading, stride, mode):
    return start >> 4 | (leading >> 4) << 16 | (stride >> 4) << 32 | mode << 62


def _product(kind, mode, steps=GOOD, left=None, fragments="", shift=0):
    a = RNG.standard_normal((64, 32 // np.dtype(kind).itemsize)).astype(np.float32) if left is None else left
    b = RNG.standard_normal((COLUMNS, a.shape[1])).astype(np.float32)
    stored = [_stored(one, kind) for one in (a, b)]
    parts = [_laid(one, mode) for one in stored]
    start = -(-parts[0][0].size // 1024) * 1024
    memory = np.zeros(-(-(start + parts[1][0].size) // 2048) * 2048, np.uint8)
    memory[: parts[0][0].size], memory[start : start + parts[1][0].size] = parts[0][0], parts[1][0]
    words = [_descriptor(1024 + place, *part[1], mode) for place, part in zip((shift, start), parts, strict=True)]
    name, terms = ("tf32", 8) if kind == np.float32 else ("bf16", 16)
    given = fragments or "%rd8"
    text = f"wgmma.mma_async.sync.aligned.m64n{COLUMNS}k{terms}.f32.{name}.{name} {{%f0,%f1,%f2,%f3,%f4,%f5,%f6,%f7}}"
    text += f", {given}, %rd9, %p2, 1, 1{', 0, 0' if name == 'bf16' else ''};"
    before = f"mov.u64 %rd8, {words[0]}; mov.u64 %rd9, {words[1]}; setp.ne.u32 %p2, 1, 1;"
    shared = f".shared .align 1024 .b8 tile[{memory.size}];"
    body = "\n".join((shared, AHEAD.replace("ROUNDS", str(memory.size // 2048)), before, *steps, LAST))
    body = body.replace("PRODUCT", text)
    got = run(body, memory.view(np.uint32), np.zeros((128, SUMS), np.float32), threads=128)[1]
    exact = [_read(one, kind) for one in stored]
    return got, exact[0] @ exact[1].T


def _stored(matrix, kind):
    return matrix if kind == np.float32 else (matrix.view(np.uint32) >> 16).astype(np.uint16)


def _read(stored, kind):
    if kind == np.float32:
        return (stored.view(np.uint32) >> 13 << 13).view(np.float32).astype(np.float64)
    return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def _dealt(product):
    """By thread and register, as the ISA's figure of the D fragments says."""
    sums = np.empty((128, SUMS))
    for thread in range(128):
        for number in range(SUMS):
            row = 16 * (thread // 32) + thread % 32 // 4 + 8 * (number // 2 % 2)
            sums[thread, number] = product[row, 8 * (number // 4) + thread % 4 * 2 + number % 2]
    return sums


@pytest.mark.parametrize("mode", WIDTHS)
@pytest.mark.parametrize("kind", [np.float32, np.uint16])
def test_operands_are_read_where_their_descriptors_say(kind, mode):
    got, product = _product(kind, mode)
    np.testing.assert_allclose(got, _dealt(product), rtol=0, atol=1e-5)


def test_the_left_operand_in_registers():
    """Each thread makes its fragment: element (row, term) is 100 * row + term."""
    lines = ["shr.u32 %r10, %r1, 5; and.b32 %r11, %r1, 31; shr.u32 %r12, %r11, 2; and.b32 %r13, %r11, 3;",
             "mul.lo.u32 %r14, %r10, 1600; mad.lo.u32 %r15, %r12, 100, %r14; add.u32 %r16, %r15, %r13;"]  # fmt: skip
    for number, more in enumerate((0, 800, 4, 804)):
        lines.append(f"add.u32 %r17, %r16, {more}; cvt.rn.f32.u32 %f10, %r17; mov.b32 %r{20 + number}, %f10;")
    left = 100.0 * np.arange(64)[:, None] + np.arange(8)
    steps = (*lines, *GOOD)
    got, product = _product(np.float32, 2, steps, left.astype(np.float32), "{%r20, %r21, %r22, %r23}")
    np.testing.assert_allclose(got, _dealt(product), rtol=1e-6)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((MEET, ORDER, "PRODUCT", COMMIT, WAIT), r"no fence\.proxy\.async behind"),
        ((MEET, FENCE, ORDER, "PRODUCT", COMMIT, WAIT), None),
        ((FENCE, ORDER, "PRODUCT", COMMIT, WAIT), "race: shared memory"),
        ((FENCE, MEET, "PRODUCT", COMMIT, WAIT), r"no wgmma\.fence comes before"),
        ((FENCE, MEET, ORDER, "mov.f32 %f3, 0f00000000;", "PRODUCT", COMMIT, WAIT), r"%f3 was used after"),
        ((FENCE, MEET, ORDER, "PRODUCT", WAIT), "still adding"),
        ((FENCE, MEET, ORDER, "PRODUCT", COMMIT, "wgmma.wait_group.sync.aligned 1;"), "still adding"),
        ((FENCE, MEET, ORDER, "PRODUCT", COMMIT, "add.f32 %f20, %f1, %f1;", WAIT), "touches %f1, to which line"),
        ((*GOOD[:5], MEET, "st.shared.u32 [tile], 7;", WAIT), "race|has changed under"),
        ((*GOOD, "st.shared.u32 [tile], 7;"), "race: shared memory"),
        ((*GOOD, MEET, "setp.eq.u32 %p3, %r1, 0; @%p3 st.shared.u32 [tile], 7;"), None),
        ((*GOOD[:3], "PRODUCT PRODUCT", COMMIT, WAIT), None),
    ],
)  # fmt: skip
def test_what_must_come_before_and_after(steps, words):
    if words is None:
        _product(np.float32, 2, steps)
    else:
        with pytest.raises(Fault, match=words):
            _product(np.float32, 2, steps)


def test_descriptors_that_are_no_good():
    with pytest.raises(Fault, match="does not begin where the pattern"):
        _product(np.float32, 1, shift=128)
    with pytest.raises(Fault, match="runs over its rows"):
        _product(np.float32, 3, shift=16)


def test_forms_that_are_not_known():
    for text in ("m64n16k16.f32.bf16.bf16 {%f0}, %rd1, %rd2, 1, 1, 1, 1, 0", "m64n8k32.s32.s8.s8 {%r1}, %rd1, %rd2, 1"):
        with pytest.raises(Fault, match="not known in this form"):
            Module(kernel(f"wgmma.mma_async.sync.aligned.{text};"))
