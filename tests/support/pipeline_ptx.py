"""A pipeline of TMA and wgmma in PTX by hand: a producer warp, two consumer warpgroups, stages guarded by mbarriers."""

from __future__ import annotations

import re
import struct

import numpy as np
from emulated import get, kernel, put

from netspec.emulate import Memory, Module, launch
from netspec.emulate.map_encoding import encode

SLABS, STAGE = 4, 128 * 128 + 64 * 128
LEFT, RIGHT = 1 << 62 | 64 << 32 | 1 << 16, 1 << 62 | 64 << 32 | 512 << 16
SUMS = ", ".join(f"%f{number}" for number in range(32))
LOAD = "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
WAIT = "mbarrier.try_wait.parity.shared::cta.b64"


def products():
    """Four of 64 x 64 x 16: the left operand lies along the terms, the right one along its columns."""
    lines = []
    for step in range(4):
        adds = "%p6" if step == 0 else "1"
        lines += [
            f"add.u64 %rd6, %rd4, {2 * step}; add.u64 %rd7, %rd5, {128 * step};",
            f"wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {{{SUMS}}}, %rd6, %rd7, {adds}, 1, 1, 0, 1;",
        ]
    return "\n".join(lines)


def stored():
    """Row 16 w + l / 4 of the warpgroup's 64, columns 2 (l % 4) on, of 64 floats a row."""
    places = ((number, 2048 * (number // 2 % 2) + 32 * (number // 4)) for number in range(0, 32, 2))
    return "\n".join(f"st.global.v2.f32 [%rd8 + {place}], {{%f{number}, %f{number + 1}}};" for number, place in places)


BODY = f"""
mov.u32 %r2, dynamic;
add.u32 %r3, %r2, {2 * STAGE};
add.u32 %r4, %r3, 16;
setp.ne.u32 %p1, %r1, 0;
@%p1 bra START;
fence.proxy.tensormap::generic.acquire.gpu [%rd1], 128;
fence.proxy.tensormap::generic.acquire.gpu [%rd2], 128;
mbarrier.init.shared::cta.b64 [%r3], 1;
mbarrier.init.shared::cta.b64 [%r3 + 8], 1;
mbarrier.init.shared::cta.b64 [%r4], 2;
mbarrier.init.shared::cta.b64 [%r4 + 8], 2;
fence.mbarrier_init.release.cluster;
START:
bar.sync 0;
mov.u32 %r5, 0;
mov.u32 %r6, 0;
mov.u32 %r7, 0;
mov.u32 %r20, 0;
shr.u32 %r8, %r1, 7;
setp.ne.u32 %p2, %r8, 0;
@%p2 bra CONSUMER;
setmaxnreg.dec.sync.aligned.u32 40;
setp.ge.u32 %p3, %r1, 32;
@%p3 bra DONE;
elect.sync %r9|%p4, 0xffffffff;
@!%p4 bra DONE;
PRODUCE:
xor.b32 %r10, %r6, 1;
shl.b32 %r11, %r5, 3;
add.u32 %r12, %r4, %r11;
add.u32 %r13, %r3, %r11;
EMPTY:
{WAIT} %p5, [%r12], %r10;
@!%p5 bra EMPTY;
mad.lo.u32 %r14, %r5, {STAGE}, %r2;
add.u32 %r15, %r14, {128 * 128};
mbarrier.arrive.expect_tx.shared::cta.b64 %rd10, [%r13], {STAGE};
shl.b32 %r16, %r7, 6;
{LOAD} [%r14], [%rd1, {{%r16, %r20}}], [%r13];
{LOAD} [%r15], [%rd2, {{%r20, %r16}}], [%r13];
add.u32 %r7, %r7, 1;
xor.b32 %r5, %r5, 1;
setp.eq.u32 %p6, %r5, 0;
@%p6 xor.b32 %r6, %r6, 1;
setp.lt.u32 %p7, %r7, {SLABS};
@%p7 bra PRODUCE;
bra DONE;
CONSUMER:
setmaxnreg.inc.sync.aligned.u32 232;
sub.u32 %r17, %r8, 1;
and.b32 %r22, %r1, 127;
CONSUME:
shl.b32 %r11, %r5, 3;
add.u32 %r13, %r3, %r11;
FULL:
{WAIT} %p5, [%r13], %r6;
@!%p5 bra FULL;
mad.lo.u32 %r14, %r5, {STAGE}, %r2;
mad.lo.u32 %r18, %r17, {64 * 128}, %r14;
add.u32 %r19, %r14, {128 * 128};
shr.u32 %r18, %r18, 4;
cvt.u64.u32 %rd4, %r18;
or.b64 %rd4, %rd4, {LEFT};
shr.u32 %r19, %r19, 4;
cvt.u64.u32 %rd5, %r19;
or.b64 %rd5, %rd5, {RIGHT};
setp.ne.u32 %p6, %r7, 0;
wgmma.fence.sync.aligned;
{products()}
wgmma.commit_group.sync.aligned;
wgmma.wait_group.sync.aligned 1;
setp.eq.u32 %p7, %r22, 0;
and.pred %p7, %p7, %p6;
xor.b32 %r12, %r11, 8;
add.u32 %r12, %r4, %r12;
@%p7 mbarrier.arrive.shared::cta.b64 %rd10, [%r12];
add.u32 %r7, %r7, 1;
xor.b32 %r5, %r5, 1;
setp.eq.u32 %p7, %r5, 0;
@%p7 xor.b32 %r6, %r6, 1;
setp.lt.u32 %p7, %r7, {SLABS};
@%p7 bra CONSUME;
wgmma.wait_group.sync.aligned 0;
shr.u32 %r23, %r22, 5;
shl.b32 %r23, %r23, 4;
and.b32 %r24, %r22, 31;
shr.u32 %r25, %r24, 2;
add.u32 %r23, %r23, %r25;
mad.lo.u32 %r23, %r17, 64, %r23;
and.b32 %r24, %r24, 3;
shl.b32 %r24, %r24, 3;
mad.lo.u32 %r23, %r23, 256, %r24;
cvt.u64.u32 %rd8, %r23;
add.u64 %rd8, %rd3, %rd8;
{stored()}
DONE:
"""
WHOLE = kernel(BODY, 3, ".extern .shared .align 1024 .b8 dynamic[];", ".maxntid 384, 1, 1 .minnctapersm 1")


def bent(line, instead="", loop=False):
    """The kernel with something else in a line's place; ``loop``: the branch behind a wait goes with it."""
    pattern = re.escape(line) + (r"\n@[^\n]*" if loop else "")
    text, count = re.subn(pattern, lambda found: instead + "\n" * found[0].count("\n"), WHOLE, count=1)
    assert count
    return text


def bits(values):
    """float32 that bf16 holds, and its patterns."""
    kept = np.ascontiguousarray(values, np.float32).view(np.uint32) & 0xFFFF0000
    return kept.view(np.float32), (kept >> 16).astype(np.uint16)


def run(text=WHOLE, check=True):
    """What the kernel gives for a product of 128 x 256 x 64, and what it should."""
    random, memory = np.random.default_rng(3), Memory(1 << 22)
    (a, left), (b, right) = (bits(random.standard_normal(shape)) for shape in ((128, 64 * SLABS), (64 * SLABS, 64)))
    places = [put(memory, one) for one in (left, right)]
    maps = [
        encode(places[0], 2, (64 * SLABS, 128), (128 * SLABS,), (64, 128), 128),
        encode(places[1], 2, (64, 64 * SLABS), (128,), (64, 64), 128),
    ]
    out = memory.allocate(128 * 64 * 4)
    given = [struct.pack("<Q", one) for one in (*(put(memory, one) for one in maps), out)]
    launch(Module(text), "k", (1, 1, 1), (384, 1, 1), 2 * STAGE + 64, given, memory, check=check)
    return get(memory, out, (128, 64), np.float32), a.astype(np.float64) @ b
