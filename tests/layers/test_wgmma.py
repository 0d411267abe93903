"""Descriptors, swizzling and fragments of Hopper's matrix instruction, by the PTX ISA's figures; its machine code."""

import re

import pytest

pytest.importorskip("numba.cuda")

from netspec.device.gpus import finds_compiler
from netspec.emulate.instructions.matrix_descriptors import UNIT, units
from netspec.gates.assemble import assemble, find_ptxas, machine_code
from netspec.kernels import warpgroup
from netspec.plugin import Lazy, cp_async16, cp_async_commit, cp_async_wait, cuda

FIGURE = ("0123", "0123", "1032", "1032", "2301", "2301", "3210", "3210")
"""64-byte swizzling: where, in units of 16 bytes, eight lines have their fours 0, 1, 2 and 3."""
SIZE, RIGHT, BOTH = 3072, 2048, 6144
zeros = Lazy("netspec.kernels.warp_tiles", "zeros", (64,))
multiply = Lazy("netspec.kernels.warpgroup", "multiply", (2, 64))
wait = Lazy("netspec.kernels.warpgroup", "wait", (2, 64))
store = Lazy("netspec.kernels.warpgroup", "store", (2, 64, 68))
fence = Lazy("netspec.kernels.warpgroup", "fence")


def test_a_descriptor_has_its_fields_where_the_isa_says():
    word = warpgroup.descriptor(0x2C400)
    assert word & 0x3FFF == 0x2C400 >> 4  # matrix start address
    assert word >> 16 & 0x3FFF == 1  # leading dimension byte offset: not used with swizzling, taken as 1
    assert word >> 32 & 0x3FFF == 8 * 64 >> 4  # stride dimension byte offset: eight lines of 64 bytes
    assert word >> 49 & 7 == 0  # base offset: operands begin where the pattern does
    assert word >> 62 == 2  # 64-byte swizzling


@pytest.mark.parametrize("step", [0, 1])
def test_words_lie_where_the_figure_says(step):
    found = units(warpgroup.descriptor(4096) + 2 * step, 64)
    for line in range(64):
        for number in range(2):
            assert found[line, number] == 4096 + 64 * line + UNIT * int(FIGURE[line % 8][2 * step + number])


def test_sums_are_the_fragments_of_the_isa():
    seen = set()
    for thread in range(128):
        warp, lane = divmod(thread, 32)
        for i in range(16):  # d[i]: row by the warp, the lane's group and bit 1, column by the rest
            place = 16 * warp + lane // 4 + 8 * (i >> 1 & 1), 8 * (i >> 2) + 2 * (lane % 4) + (i & 1)
            down, across = warpgroup.sum_places(32)[i]
            assert (16 * warp + lane // 4 + down, lane % 4 * 2 + across) == place
            seen.add(place)
    assert len(seen) == 64 * 32


def pipeline(source, target, stages):
    shared = cuda.shared.array(BOTH, source.dtype, alignment=1024)
    t = cuda.threadIdx.x
    sums = zeros()
    for stage in range(stages):
        for four in range(t, SIZE // 4, 128):
            cp_async16(shared, stage % 2 * SIZE + 4 * four, source, stage * SIZE + 4 * four, 4)
        cp_async_commit()
        cp_async_wait(0)
        fence()
        cuda.syncthreads()
        sums = multiply(shared, stage % 2 * SIZE, stage % 2 * SIZE + RIGHT, sums)
        sums = wait(sums)
    for block in range(2):
        store(target, (128 * block + t) * 128, sums, block)


@pytest.mark.skipif(
    find_ptxas() is None or not finds_compiler(), reason="ptxas or the CUDA compiler is missing: 'netspec[gates]'"
)
def test_the_machine_code_multiplies_in_place():
    from netspec.kernels.cuda import ptx_of
    from netspec.kernels.numba_cuda import array_type, scalar_type

    array = array_type("float32", 1)
    text = ptx_of(pipeline, "float32", None, (array, array, scalar_type("int64")), (9, 0, "a"))
    assert ".target sm_90a" in text and str(warpgroup.LAYOUT - 2**64) in text
    order = re.findall(r"cp\.async\.wait_group|fence\.proxy\.async|bar\.sync|wgmma\.\w+", text)
    want = ["cp.async.wait_group", "fence.proxy.async", "bar.sync", "wgmma.fence", *["wgmma.mma_async"] * 4]
    assert order == [*want, "wgmma.commit_group", "wgmma.wait_group"]
    assert assemble(text, "sm_90a")["spills"] == 0
    listing = machine_code(text, "sm_90a")
    found = [line.split("*/")[1].split() for line in listing.splitlines() if re.search(r"/\*\w{4,}\*/ +\S+ .*;", line)]
    names = [words[1] if words[0].startswith("@") else words[0] for words in found]
    first, last = (names.index("WARPGROUP.ARRIVE"), names.index("WARPGROUP.DEPBAR.LE"))
    between = names[first:last]
    assert between.count("HGMMA.64x64x8.F32.TF32") == 4 and names.count("HGMMA.64x64x8.F32.TF32") == 4
    assert not [name for name in between if name.startswith(("MOV", "FADD", "IMAD.MOV.U32"))]
    with pytest.raises(RuntimeError, match="not supported on"):  # neither plain sm_90 nor another generation has it
        assemble(text.replace(".target sm_90a", ".target sm_90"), "sm_90")


def test_numba_compiles_for_sm_90a_where_it_finds_such_a_card(monkeypatch):
    """What decides at run time: kernels for a card of 9.0 or newer get the instructions of that card alone."""
    from numba.cuda import codegen

    class Card:
        compute_capability = (9, 0)

    class Context:
        device = Card

    monkeypatch.setattr(codegen.devices, "get_context", lambda: Context)
    assert codegen.CUDACodeLibrary._ensure_cc(None, None) == (9, 0, "a")
