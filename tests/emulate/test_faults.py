"""Mistakes planted in kernels, one of each kind: the emulator names each, and lets pass what only looks like one."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import kernel, put, run

from netspec.emulate import Fault, Memory, Module

SHARED = ".shared .align 16 .b8 tile[1024];"
PLACES = """mul.wide.u32 %rd4, %r1, 4; mov.u64 %rd5, tile; add.u64 %rd6, %rd5, %rd4;
mul.wide.u32 %rd7, %r1, 4; add.u64 %rd8, %rd1, %rd7;"""
"""%rd6: a thread's word of the tile; %rd8: its word of the array."""
NEIGHBOUR = """xor.b32 %r2, %r1, 33; mul.wide.u32 %rd9, %r2, 4; add.u64 %rd10, %rd5, %rd9;"""
"""%rd10: the tile's word of a thread of another warp."""
WARPMATE = """xor.b32 %r2, %r1, 1; mul.wide.u32 %rd9, %r2, 4; add.u64 %rd10, %rd5, %rd9;"""
SWAP = "st.shared.u32 [%rd6], %r1; {between} ld.shared.u32 %r3, [%rd10]; {after} st.global.u32 [%rd8], %r3;"
COPY = "cvt.u32.u64 %r10, %rd6; cp.async.ca.shared.global [%r10], [%rd8], 4; {wait} ld.shared.u32 %r3, [{place}];"


def _swap(between="bar.sync 0;", after="", places=NEIGHBOUR, threads=64, **options):
    body = SHARED + PLACES + places + SWAP.format(between=between, after=after)
    return run(body, 4 * threads, threads=threads, **options)[0].view(np.uint32)


def test_neighbours_meet_at_a_barrier():
    np.testing.assert_array_equal(_swap(), np.arange(64) ^ 33)


def test_several_blocks_have_shared_memory_of_their_own():
    body = (
        SHARED
        + PLACES
        + NEIGHBOUR
        + """mov.u32 %r5, %ctaid.x; mad.lo.u32 %r6, %r5, 1000, %r1;
    st.shared.u32 [%rd6], %r6; bar.sync 0; ld.shared.u32 %r3, [%rd10]; mul.wide.u32 %rd11, %r5, 256;
    add.u64 %rd12, %rd8, %rd11; st.global.u32 [%rd12], %r3;"""
    )
    (got,) = run(body, 4 * 64 * 5, threads=64, blocks=5)
    want = (np.arange(64) ^ 33) + 1000 * np.arange(5)[:, None]
    np.testing.assert_array_equal(got.view(np.uint32).reshape(5, 64), want)


def test_a_missing_barrier_is_a_race():
    with pytest.raises(Fault, match=r"race: shared memory.*read by thread .* and written by thread"):
        _swap(between="")


def test_both_lines_of_a_race_are_named():
    with pytest.raises(Fault, match=r"ld\.shared\.u32 %r3.* and line \d+ \(.*st\.shared\.u32 \[%rd6\]"):
        _swap(between="\n")


def test_writing_over_what_is_being_read_is_a_race():
    with pytest.raises(Fault, match=r"written by thread .* and read by"):
        _swap(after="st.shared.u32 [%rd6], %r3;")
    _swap(after="bar.sync 0; st.shared.u32 [%rd6], %r3;")


@pytest.mark.parametrize("writer", [0, 63])
def test_one_of_many_readers_must_not_write(writer):
    """Whichever of them was noted last."""
    body = f"ld.global.u32 %r3, [%rd1]; setp.eq.u32 %p1, %r1, {writer}; @%p1 st.global.u32 [%rd1], %r3;"
    with pytest.raises(Fault, match=rf"written by thread {writer} of block 0 and read by thread"):
        run(body, np.zeros(64, np.uint32), threads=64)


def test_warpmates_are_in_order_after_a_barrier_of_the_warp_alone():
    with pytest.raises(Fault, match="race"):
        _swap(between="", places=WARPMATE)
    with pytest.raises(Fault, match="race"):
        _swap(between="bar.warp.sync 0xffffffff;", places=NEIGHBOUR)
    np.testing.assert_array_equal(_swap(between="bar.warp.sync 0xffffffff;", places=WARPMATE), np.arange(64) ^ 1)


def test_two_threads_that_write_one_word():
    with pytest.raises(Fault, match=r"race: global memory .* written by thread .* and written by"):
        run("st.global.u32 [%rd1], %r1;", 4, threads=2)
    with pytest.raises(Fault, match=r"race: global memory .* of block \d"):
        run("st.global.u32 [%rd1], 5;", 4, threads=1, blocks=3)
    run("st.global.u32 [%rd1], 5;", 4, threads=1, blocks=3, check=False)


def test_blocks_are_not_in_order():
    """A block reads what another has written: whatever ran first here, a card may run it last."""
    body = """mov.u32 %r2, %ctaid.x; mul.wide.u32 %rd2, %r2, 4; add.u64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r2;
    bar.sync 0; ld.global.u32 %r3, [%rd1];"""
    with pytest.raises(Fault, match=r"race: global memory"):
        run(body, 4 * 3, threads=1, blocks=3)


def test_a_block_that_meets_sees_its_own_stores_to_global_memory():
    body = (
        PLACES.replace("tile", "%rd1")
        + """st.global.u32 [%rd8], %r1; {} xor.b32 %r2, %r1, 33;
    mul.wide.u32 %rd9, %r2, 4; add.u64 %rd10, %rd1, %rd9; ld.global.u32 %r3, [%rd10];"""
    )
    run(body.format("bar.sync 0;"), 256, threads=64)
    with pytest.raises(Fault, match="race: global memory"):
        run(body.format(""), 256, threads=64)


def test_bytes_of_a_word_belong_to_their_threads():
    body = "cvt.u64.u32 %rd2, %r1; add.u64 %rd3, %rd1, %rd2; st.global.u8 [%rd3], %r1; {}"
    (got,) = run(body.format(""), 8, threads=8)
    np.testing.assert_array_equal(got, np.arange(8))
    for late in ("ld.global.u32 %r2, [%rd1];", "st.global.u8 [%rd1], %r1;", "ld.global.u8 %r2, [%rd1];"):
        with pytest.raises(Fault, match="race"):
            run(body.format(late), 8, threads=8)


@pytest.mark.parametrize("text", ["ld.global.u32 %r2, [%rd1+{}];", "st.global.u32 [%rd1+{}], %r1;"])
def test_accesses_outside_an_allocation(text):
    for offset in (-4, 400, 1 << 40):
        with pytest.raises(Fault, match=r"block 0, thread 0: .*outside"):
            run(
                f"mov.u64 %rd2, {offset}; add.u64 %rd1, %rd1, %rd2;" + text.format(0),
                np.zeros(100, np.float32),
                threads=1,
            )
    run(text.format(396), np.zeros(100, np.float32), threads=1)


def test_an_allocation_given_back_is_no_more():
    memory = Memory(1 << 20)
    first, second = put(memory, np.arange(4)), put(memory, np.arange(4))
    assert second - first > 32 and first % 256 == 0 and memory.contains(first, 32) and not memory.contains(first, 33)
    memory.free(first)
    with pytest.raises(Fault, match="not in one allocation"):
        memory.view(first, 8)
    assert memory.allocate(16) == first
    with pytest.raises(MemoryError):
        memory.allocate(1 << 20)


def test_shared_memory_ends():
    for place in (1024, 4096):
        with pytest.raises(Fault, match=r"shared memory at .* outside|are outside shared memory"):
            run(SHARED + f"mov.u64 %rd5, tile; st.shared.u32 [%rd5+{place}], %r1;", threads=1)
    body = ".extern .shared .align 16 .b8 more[];", "mov.u64 %rd5, more; st.shared.u32 [%rd5+{}], %r1;"
    run(body[1].format(252), before=body[0], dynamic=256, threads=1)
    with pytest.raises(Fault, match="outside"):
        run(body[1].format(256), before=body[0], dynamic=256, threads=1)


def test_accesses_must_be_aligned_to_their_size():
    with pytest.raises(Fault, match="no multiple of the access's 16 bytes"):
        run("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1+8];", np.zeros(8, np.float32), threads=1)
    with pytest.raises(Fault, match="no multiple of the access's 8 bytes"):
        run(SHARED + "mov.u64 %rd5, tile; st.shared.u64 [%rd5+4], %rd1;", np.zeros(1), threads=1)


def test_reading_what_was_never_written():
    with pytest.raises(Fault, match=r"global memory at .* is never written"):
        run("ld.global.u32 %r2, [%rd1];", 64, threads=1)
    with pytest.raises(Fault, match=r"shared memory at .* is never written"):
        run(SHARED + "mov.u64 %rd5, tile; st.shared.u32 [%rd5], 1; ld.shared.u64 %rd6, [%rd5];", threads=1)


def test_copies_in_the_background_need_a_wait_and_others_a_barrier():
    values = np.arange(64, dtype=np.uint32)
    group = "cp.async.commit_group; cp.async.wait_group {};"
    for wait in ("", "cp.async.commit_group;", group.format(1), "bar.sync 0;"):
        with pytest.raises(Fault, match="still being copied"):
            run(SHARED + PLACES + COPY.format(wait=wait, place="%rd6"), values, threads=64)
    for wait in ("cp.async.wait_all;", group.format(0)):
        run(SHARED + PLACES + COPY.format(wait=wait, place="%rd6"), values, threads=64)
        with pytest.raises(Fault, match=r"race|still being copied"):
            run(SHARED + PLACES + NEIGHBOUR + COPY.format(wait=wait, place="%rd10"), values, threads=64)
        run(SHARED + PLACES + NEIGHBOUR + COPY.format(wait=f"{wait} bar.sync 0;", place="%rd10"), values, threads=64)
    with pytest.raises(Fault, match=r"race|still being copied"):  # the barrier must come after the wait
        run(
            SHARED + PLACES + NEIGHBOUR + COPY.format(wait="bar.sync 0; cp.async.wait_all;", place="%rd10"),
            values,
            threads=64,
        )


def test_groups_land_in_their_order():
    body = (
        SHARED
        + PLACES
        + """cvt.u32.u64 %r10, %rd6; cp.async.ca.shared.global [%r10], [%rd8], 4;
    cp.async.commit_group; cp.async.ca.shared.global [%r10+512], [%rd8], 4, 0; cp.async.commit_group;
    cp.async.wait_group 1; ld.shared.u32 %r2, [%rd6]; {} ld.shared.u32 %r3, [%rd6+512]; add.u32 %r3, %r2, %r3;
    st.global.u32 [%rd8], %r3;"""
    )
    values = np.arange(64, dtype=np.uint32)
    (got,) = run(body.format("cp.async.wait_group 0;"), values, threads=64)
    np.testing.assert_array_equal(got, values)  # the second copied no bytes: zeros
    with pytest.raises(Fault, match="still being copied"):
        run(body.format(""), values, threads=64)


def test_a_buffer_is_filled_anew_only_when_its_readers_have_met():
    body = (
        SHARED + PLACES + NEIGHBOUR + COPY + "{between} cp.async.ca.shared.global [%r10], [%rd8], 4; cp.async.wait_all;"
    )
    given = {"wait": "cp.async.wait_all; bar.sync 0;", "place": "%rd10"}
    values = np.arange(64, dtype=np.uint32)
    with pytest.raises(Fault, match=r"race: .* written by .* and read by"):
        run(body.format(between="", **given), values, threads=64)
    run(body.format(between="bar.sync 0;", **given), values, threads=64)


def test_the_source_of_a_copy_may_change_until_it_lands():
    body = (
        SHARED
        + PLACES
        + COPY.format(wait="st.global.u32 [%rd8], 77; cp.async.wait_all;", place="%rd6")
        + "st.global.u32 [%rd8], %r3;"
    )
    (got,) = run(body, np.zeros(32, np.uint32))
    assert (got == 77).all()


def test_copies_must_be_aligned_and_no_longer_than_they_say():
    start = SHARED + PLACES + "cvt.u32.u64 %r10, %rd5; "
    with pytest.raises(Fault, match="no multiple of 16 bytes"):
        run(start + "cp.async.cg.shared.global [%r10], [%rd1+4], 16;", np.zeros(16), threads=1)
    with pytest.raises(Fault, match="20 bytes of 16"):
        run(start + "cp.async.cg.shared.global [%r10], [%rd1], 16, 20;", np.zeros(16), threads=1)
    with pytest.raises(Fault, match="copies no 8 bytes"):
        Module(kernel("cp.async.cg.shared.global [%r10], [%rd1], 8;"))
    run(start + "cp.async.ca.shared.global [%r10], [%rd1+4], 8, 0;", np.zeros(16), threads=1)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("setp.lt.u32 %p1, %r1, 40; @%p1 bra A; bra B; A: bar.sync 0; B: add.u32 %r2, %r1, 1;", "ended"),
        ("setp.lt.u32 %p1, %r1, 40; @%p1 bra A; bar.sync 1; bra B; A: bar.sync 0; B:", "never come"),
        ("setp.lt.u32 %p1, %r1, 40; @%p1 bra A; bar.warp.sync 0xffffffff; bra B; A: bar.sync 0; B:", "never come"),
        ("setp.lt.u32 %p1, %r1, 8; @%p1 bra A; bra B; A: shfl.sync.bfly.b32 %r2, %r1, 8, 31, -1; B: bar.sync 0;",
         "never come"),
        ("setp.lt.u32 %p1, %r1, 8; @%p1 bra A; bra B; A: shfl.sync.bfly.b32 %r2, %r1, 1, 31, 0x0f; B:",
         "not among the lanes"),
    ],
)  # fmt: skip
def test_threads_that_wait_for_ever(body, words):
    with pytest.raises(Fault, match=words):
        run(body, threads=64)


def test_lanes_that_take_different_ways_meet_again():
    body = """setp.lt.u32 %p1, %r1, 7; @%p1 bra A; mov.u32 %r2, 5; bra B; A: mov.u32 %r2, 6; B:
    shfl.sync.idx.b32 %r3, %r2, 0, 31, 0xffffffff; mul.wide.u32 %rd2, %r1, 4; add.u64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r3;"""
    (got,) = run(body, 4 * 32)
    assert (got.view(np.uint32) == 6).all()


def test_a_shuffle_among_some_lanes():
    body = """setp.ge.u32 %p1, %r1, 4; @%p1 bra B; shfl.sync.down.b32 %r2|%p2, %r1, 1, 31, 0x0000000f;
    B: mul.wide.u32 %rd2, %r1, 4; add.u64 %rd3, %rd1, %rd2; @!%p1 st.global.u32 [%rd3], %r2;"""
    with pytest.raises(Fault, match="asks a lane that does not take part"):
        run(body, 4 * 32)
    (got,) = run(body.replace("down.b32", "bfly.b32"), np.zeros(32, np.uint32))
    np.testing.assert_array_equal(got[:4], [1, 0, 3, 2])


def test_division_by_zero_is_not_defined():
    with pytest.raises(Fault, match="thread 3 divides by zero"):
        run("sub.u32 %r2, %r1, 3; div.u32 %r3, 7, %r2;")


def test_a_launch_must_fit_the_kernel():
    for options, words in (({"threads": 1025}, "threads in a block"), ({"dynamic": 300 << 10}, "shared memory")):
        with pytest.raises(Fault, match=words):
            run("mov.u32 %r2, 1;", **options)
    with pytest.raises(Fault, match="traps"):
        run("trap;")


def test_local_memory_is_each_thread_s_own():
    body = """.local .align 4 .b8 depot[16]; mov.u64 %rd2, depot; cvta.local.u64 %rd3, %rd2; st.u32 [%rd3+8], %r1;
    ld.local.u32 %r2, [%rd2+8]; mul.wide.u32 %rd4, %r1, 4; add.u64 %rd5, %rd1, %rd4; st.global.u32 [%rd5], %r2; {}"""
    (got,) = run(body.format(""), 4 * 32)
    np.testing.assert_array_equal(got.view(np.uint32), np.arange(32))
    with pytest.raises(Fault, match=r"local memory at .* outside"):
        run(body.format("ld.local.u32 %r2, [%rd2+16];"), 4 * 32)


def test_generic_addresses_reach_every_space():
    body = (
        SHARED
        + PLACES
        + """cvta.shared.u64 %rd10, %rd6; setp.lt.u32 %p1, %r1, 16; selp.b64 %rd11, %rd10, %rd8, %p1;
    st.u32 [%rd11], %r1; ld.u32 %r2, [%rd11]; add.u32 %r2, %r2, 100; st.global.u32 [%rd8], %r2;"""
    )
    (got,) = run(body, 4 * 32)
    np.testing.assert_array_equal(got.view(np.uint32), np.arange(32) + 100)


def test_variables_of_a_module():
    before = ".const .align 4 .u32 table[4] = {5, 6, 0x7, 8}; .global .align 8 .u64 counter = 40;"
    body = """mov.u64 %rd2, table; mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd2, %rd3; ld.const.u32 %r2, [%rd4];
    ld.global.u32 %r3, [counter]; add.u32 %r2, %r2, %r3; add.u64 %rd5, %rd1, %rd3; st.global.u32 [%rd5], %r2;"""
    (got,) = run(body, 16, threads=4, before=before)
    np.testing.assert_array_equal(got.view(np.uint32), [45, 46, 47, 48])
    assert Module(kernel(body, before=before)).globals["counter"].nbytes == 8


def test_memory_of_the_host_is_reached_while_it_is_lent():
    host, memory = np.arange(33, dtype=np.uint32)[1:], Memory(1 << 20)
    body = f"""mov.u64 %rd2, {host.ctypes.data}; mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd2, %rd3;
    add.u64 %rd5, %rd1, %rd3; ld.global.u32 %r2, [%rd4]; add.u32 %r2, %r2, 5; st.global.u32 [%rd5], %r2;"""
    with pytest.raises(Fault, match="are outside global memory"):
        run(body, 4 * 32, memory=memory)
    memory.register_host(host.ctypes.data, host.nbytes)
    (got,) = run(body, 4 * 32, memory=memory)
    np.testing.assert_array_equal(got.view(np.uint32), host + 5)
    memory.unregister_host(host.ctypes.data)
    with pytest.raises(Fault, match="are outside global memory"):
        run(body, 4 * 32, memory=memory)
