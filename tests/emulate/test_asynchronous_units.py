"""Instructions of Hopper's asynchronous units one by one: elections, numbered barriers, stmatrix, stores by TMA."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from emulated import get, kernel, put, run

from netspec.emulate import Fault, Memory, Module, launch
from netspec.emulate.map_encoding import encode

AT = "mul.wide.u32 %rd9, %r1, 4; add.u64 %rd9, %rd9, %rd1;"
NEAR = ".shared .align 1024 .b8 near[4096];"


def test_one_lane_of_each_warp_is_elected():
    body = f"{AT} elect.sync %r2|%p1, 0xffffffff; selp.b32 %r3, 100, %r2, %p1; st.global.u32 [%rd9], %r3;"
    found = run(body, np.zeros(64, np.uint32), threads=64)[0]
    assert found.tolist() == [100, *[0] * 31] * 2


GROUPS = f"""{NEAR} {AT}
shl.b32 %r2, %r1, 2; mov.u32 %r3, near; add.u32 %r2, %r3, %r2;
shr.u32 %r4, %r1, 6; add.u32 %r5, %r4, 1; mov.u32 %r6, 64;
xor.b32 %r7, %r1, 63; shl.b32 %r7, %r7, 2; add.u32 %r7, %r3, %r7;
st.shared.u32 [%r2], %r1;
BARRIER
ld.shared.u32 %r8, [%r7]; st.global.u32 [%rd9], %r8;"""


@pytest.mark.parametrize("barrier", ["bar.sync %r5, %r6;", "bar.sync %r5, 64;", "barrier.cta.sync.aligned %r5, %r6;"])
def test_a_barrier_of_some_warps(barrier):
    found = run(GROUPS.replace("BARRIER", barrier), np.zeros(128, np.uint32), threads=128, blocks=1)[0]
    assert np.array_equal(found, np.arange(128) ^ 63)


def test_threads_may_arrive_and_go_on():
    """Warp 0 writes and only arrives, warp 1 waits and reads; both write elsewhere."""
    body = f"""{NEAR} {AT}
    shl.b32 %r2, %r1, 2; and.b32 %r2, %r2, 127; mov.u32 %r3, near; add.u32 %r2, %r3, %r2;
    setp.ge.u32 %p1, %r1, 32; @%p1 bra READ;
    add.u32 %r4, %r1, 7; st.shared.u32 [%r2], %r4; bar.arrive 1, 64; bra END;
    READ: bar.sync 1, 64; ld.shared.u32 %r4, [%r2]; st.global.u32 [%rd9], %r4; END:"""
    found = run(body, np.zeros(64, np.uint32), threads=64)[0]
    assert np.array_equal(found[32:], np.arange(32) + 7)


@pytest.mark.parametrize(
    ("barrier", "words"),
    [
        ("", "race: shared memory"),
        ("bar.sync %r1, %r6;", "thread 16 names barrier 16 of 64 threads"),
        ("bar.sync %r5, 96;", "waits forever at barrier 1 of 96 threads, of which 64 have come"),
        ("bar.sync %r5, 32;", "race: shared memory"),
        ("bar.sync 1, 40;", "names barrier 1 of 40 threads"),
    ],
)
def test_barriers_of_too_few_or_too_many(barrier, words):
    with pytest.raises(Fault, match=words):
        run(GROUPS.replace("BARRIER", barrier), np.zeros(128, np.uint32), threads=128)


@pytest.mark.parametrize("trans", ["", ".trans"])
def test_stored_matrices_are_those_that_ldmatrix_loads(trans):
    body = f"""{NEAR}
    mul.wide.u32 %rd9, %r1, 16; add.u64 %rd8, %rd9, %rd1; add.u64 %rd9, %rd9, %rd2;
    ld.global.v4.u32 {{%r4, %r5, %r6, %r7}}, [%rd8];
    mov.u32 %r3, near; mad.lo.u32 %r3, %r1, 16, %r3;
    stmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 [%r3], {{%r4, %r5, %r6, %r7}};
    bar.warp.sync -1;
    ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%r8, %r9, %r10, %r11}}, [%r3];
    st.global.v4.u32 [%rd9], {{%r8, %r9, %r10, %r11}};"""
    values = np.random.default_rng(1).integers(0, 1 << 32, (32, 4)).astype(np.uint32)
    _, found = run(body, values, np.zeros_like(values))
    assert np.array_equal(found, values)


FILL = """mov.u32 %r2, dynamic; shl.b32 %r3, %r1, 4; add.u32 %r3, %r2, %r3;
st.shared.v4.u32 [%r3], {%r1, %r1, %r1, %r1};
FENCE
bar.sync 0;
setp.ne.u32 %p1, %r1, 0; @%p1 bra END;
fence.proxy.tensormap::generic.acquire.gpu [%rd1], 128; mov.u32 %r6, 2; mov.u32 %r7, -1;
cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd1, {%r6, %r7}], [%r2];
cp.async.bulk.commit_group;
WAIT
END:"""
RIGHT = {"FENCE": "fence.proxy.async.shared::cta;", "WAIT": "cp.async.bulk.wait_group.read 0;"}


def _stored(**changes):
    """A box of 4 x 8 words from word 2 of row -1 on, in an array of 5 rows of 12."""
    text, memory = FILL, Memory(1 << 20)
    for name, line in {**RIGHT, **changes}.items():
        text = text.replace(name, line)
    place = put(memory, np.zeros((5, 12), np.uint32))
    given = [put(memory, encode(place, 4, (12, 5), (48,), (8, 4), 0))]
    module = Module(kernel(text, 1, ".extern .shared .align 1024 .b8 dynamic[];"))
    launch(module, "k", (1, 1, 1), (8, 1, 1), 128, [struct.pack("<Q", one) for one in given], memory)
    return get(memory, place, (5, 12), np.uint32)


@pytest.mark.parametrize("wait", ["cp.async.bulk.wait_group.read 0;", "cp.async.bulk.wait_group 0;"])
def test_a_box_is_stored(wait):
    wanted = np.zeros((5, 12), np.uint32)
    wanted[:3, 2:10] = np.repeat(np.arange(8), 4).reshape(4, 8)[1:]
    assert np.array_equal(_stored(WAIT=wait), wanted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"FENCE": ""}, "thread 0 has written an operand with no fence.proxy.async behind it"),
        ({"WAIT": ""}, "is not waited for: the block may end before its shared memory has been read"),
        ({"WAIT": "st.shared.u32 [%r2], 9; cp.async.bulk.wait_group.read 0;"}, "has changed under a store"),
        ({"FENCE": "fence.proxy.async;", "WAIT": "cp.async.bulk.wait_group.read 1;"}, "is not waited for"),
    ],
)
def test_what_a_store_needs(change, words):
    with pytest.raises(Fault, match=words):
        _stored(**change)


COPIED = f"""{NEAR} .shared .align 8 .b8 bar[8];
mul.wide.u32 %rd9, %r1, 16; add.u64 %rd8, %rd9, %rd1; add.u64 %rd9, %rd9, %rd2;
mov.u32 %r2, near; mad.lo.u32 %r3, %r1, 16, %r2; xor.b32 %r4, %r1, 33; mad.lo.u32 %r4, %r4, 16, %r2;
mov.u32 %r5, bar;
setp.ne.u32 %p1, %r1, 0; @%p1 bra MEET; mbarrier.init.shared::cta.b64 [%r5], 64; MEET: bar.sync 0;
cp.async.cg.shared.global [%r3], [%rd8], 16;
ARRIVE
AGAIN: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r5], 0; @!%p2 bra AGAIN;
ld.shared.v4.u32 {{%r10, %r11, %r12, %r13}}, [%r4]; st.global.v4.u32 [%rd9], {{%r10, %r11, %r12, %r13}};"""


@pytest.mark.parametrize("blocks", [1, 3])
def test_copies_of_threads_arrive_when_they_have_landed(blocks):
    values = np.arange(256, dtype=np.uint32).reshape(64, 4)
    text = COPIED.replace("ARRIVE", "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%r5];")
    if blocks == 1:
        assert np.array_equal(run(text, values, np.zeros_like(values), threads=64)[1], values[np.arange(64) ^ 33])
    else:  # blocks that write the same are a race in global memory, found only once all else is done
        with pytest.raises(Fault, match="race: global memory"):
            run(text, values, np.zeros_like(values), threads=64, blocks=blocks)


def test_an_arrival_that_does_not_wait_for_copies():
    text = COPIED.replace("ARRIVE", "mbarrier.arrive.shared::cta.b64 %rd7, [%r5];")
    with pytest.raises(Fault, match="still being copied"):
        run(text, np.zeros((64, 4), np.uint32), np.zeros((64, 4), np.uint32), threads=64)


def test_arrivals_order_what_comes_before_and_after():
    """A warp's writes are seen by those that wait for its arrivals; without it that is a race."""
    body = f"""{NEAR} .shared .align 8 .b8 bar[8]; {AT}
    mov.u32 %r2, near; and.b32 %r3, %r1, 31; mad.lo.u32 %r3, %r3, 4, %r2; mov.u32 %r5, bar;
    setp.ne.u32 %p1, %r1, 0; @%p1 bra MEET; mbarrier.init.shared::cta.b64 [%r5], 32; MEET: bar.sync 0;
    setp.ge.u32 %p1, %r1, 32; @%p1 bra WAIT;
    st.shared.u32 [%r3], %r1; mbarrier.arrive.shared::cta.b64 _, [%r5]; bra END;
    WAIT: AWAIT
    ld.shared.u32 %r6, [%r3]; st.global.u32 [%rd9], %r6; END:"""
    wait = "mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r5], 0; @!%p2 bra WAIT;"
    found = run(body.replace("AWAIT", wait), np.zeros(64, np.uint32), threads=64)[0]
    assert np.array_equal(found[32:], np.arange(32))
    with pytest.raises(Fault, match="race: shared memory"):
        run(body.replace("AWAIT", ""), np.zeros(64, np.uint32), threads=64)
