"""Machine code of the kernels that are bound by memory: it moves 128 bits at a time, and nothing else takes longer."""

from functools import cache

import pytest

from netspec.device.gpus import finds_compiler
from netspec.gates.assemble import disassembled, find_disassembler, find_ptxas
from netspec.gates.bandwidth import CARDS, rows
from netspec.gates.hot_path import hot_path
from netspec.gates.sass import instructions, wide_accesses
from netspec.gates.signatures import cuda_signatures

pytestmark = pytest.mark.skipif(
    find_ptxas() is None or find_disassembler() is None or not finds_compiler(),
    reason="ptxas, nvdisasm or the CUDA compiler is not installed: pip install 'netspec[gates]'",
)
WIDE = {
    "relu:forward_cuda": (2, 2),
    "relu:backward_cuda": (4, 2),
    "tanh:backward_cuda": (4, 2),
    "dropout:drop_cuda": (1, 1),
    "dropout:backward_cuda": (1, 1),
    "dropout:scale_cuda": (1, 1),
    "conv:d_bias_chunk_cuda": (4, 1),
    "conv:d_bias_sum_cuda": (4, 1),
    "conv:d_weight_sum_cuda": (4, 1),
    "lrn:forward_vector_cuda": (2, 2),
    "lrn:backward_vector_cuda": (4, 2),
    "lrn_within:forward_vector_cuda": (14, 8),
    "lrn_within:ratio_vector_cuda": (22, 16),
    "lrn_within:backward_vector_cuda": (22, 8),
    "pool:max_vector_cuda": (9, 2),
    "pool:max_only_vector_cuda": (9, 1),
    "pool:d_max_vector_cuda": (8, 1),
    "pool:average_vector_cuda": (9, 1),
    "pool:d_average_vector_cuda": (4, 1),
    "softmax_loss:judge_vector_cuda": (2, 1),
    "softmax_loss:probs_vector_cuda": (2, 1),
    "softmax_loss:backward_vector_cuda": (1, 1),
    "solvers.sgd:update_cuda": (3, 2),
    "ops.finite:check_cuda": (4, 0),
    "ops.prepare:prepare_cuda": (1, 4),
    "ops.prepare:tint_cuda": (4, 4),
    "ops.sum:add_vector_cuda": (2, 1),
    "ops.sum:zero_vector_cuda": (0, 1),
    "ops.commit:commit_cuda": (1, 1),
    "sum:forward_cuda": (4, 2),
    "sum:backward_cuda": (2, 2),
    "concat:forward_vector_cuda": (2, 2),
    "concat:backward_vector_cuda": (2, 2),
}
"""Loads and stores of 128 bits that a kernel has at least: of the mean, in prepare, whose images are bytes."""


TOGETHER = {
    "pool:d_max_vector_cuda": 128,
    "relu:backward_cuda": 64,
    "lrn:backward_vector_cuda": 64,
    "sum:forward_cuda": 64,
    "solvers.sgd:update_cuda": 48,
    "ops.prepare:tint_cuda": 80,
}
"""Bytes that a thread has on their way at once before it waits for the first, where that is not left to chance."""
OTHERWISE_BOUND = "lrn_within"
"""Its window of 25 pixels comes from the cache and takes longer than memory does."""
TARGETS = [(8, 0), (9, 0)]


@cache
def signatures():
    """By kernel, as compiled for float32, which comes before bfloat16."""
    return {one.kernel: one for one in reversed(cuda_signatures())}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", WIDE)
def test_accesses_are_of_128_bits(kernel, target):
    loads, stores = wide_accesses(instructions(signatures()[kernel], target))
    assert loads >= WIDE[kernel][0] and stores >= WIDE[kernel][1], (loads, stores)


def test_every_vector_kernel_is_looked_at():
    vector = {name for name, one in signatures().items() if one.variant == "vector"}
    assert vector - set(WIDE) == {"softmax_loss:report_vector_cuda"}  # four numbers in all


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", TOGETHER)
def test_loads_are_on_their_way_together(kernel, target):
    assert hot_path(disassembled(signatures()[kernel], target)).together[1] >= TOGETHER[kernel]


@pytest.mark.parametrize("target", TARGETS)
def test_the_finite_check_waits_for_no_load_before_the_last_is_started(target):
    text = disassembled(signatures()["ops.finite:check_cuda"], target)
    between = text[text.index("LDG.E.128") : text.rindex("LDG.E.128")]
    assert between.count("LDG.E.128") == 3 and "FSETP" not in between and "BRA" not in between


@pytest.mark.parametrize("card", CARDS)
def test_nothing_but_memory_limits_them(card):
    """By counts alone: instructions, special functions, the cache and waiting leave a card's bandwidth as it is."""
    large = [row for row in rows(CARDS[card]) if row.case.read + row.case.written > 10 * 2**20]
    found = [row for row in large if not row.case.kernel.startswith(OTHERWISE_BOUND)]
    slow = [(row.case.kernel, row.limits) for row in found if min({**row.limits, "size": 1.0}.values()) < 1.0]
    assert len(found) > 15 and slow == []


CODE = """
        /*0000*/                   S2R R0, SR_TID.X ;
        /*0010*/              @!P0 BRA `(.L_x_2) ;
.L_x_1:
        /*0020*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0030*/                   LDG.E.128 R8, desc[UR4][R2.64+0x10] ;
        /*0040*/                   FADD R12, R4, R8 ;
        /*0050*/              @P1  BRA `(.L_x_1) ;
        /*0060*/                   STG.E.128 desc[UR4][R14.64], R12 ;
        /*0070*/                   EXIT ;
.L_x_2:
        /*0080*/                   MUFU.RCP R0, R0 ;
        /*0090*/                   EXIT ;
"""


def test_the_hot_path_passes_the_wide_accesses_and_knows_loops():
    path = hot_path(CODE)
    assert path.loops == [(1, 1)] and path.together == (2, 32)
    assert (path.count([1]), path.count([3]), path.count([3], "LDG"), path.count([1], "MUFU")) == (8, 16, 6, 0)
    assert (path.loaded([3]), path.waits([3])) == (96, 3)
    with pytest.raises(ValueError, match="1 loops, not 2"):
        path.count([1, 1])


def test_rounds_follow_from_what_is_to_be_loaded():
    assert hot_path(CODE).rounds(80) == (2.5,)
    again = ".L_x_3:\n /*0055*/ LDG.E.128 R4, desc[UR4][R2.64] ;\n /*0058*/ @P1 BRA `(.L_x_3) ;\n /*0060*/"
    path = hot_path(CODE.replace("        /*0060*/", again))
    assert path.rounds(32 * 3 + 16) == (3, 1) and path.rounds(16) == (0, 1)
    with pytest.raises(ValueError, match="without loads"):
        hot_path(CODE.replace("LDG", "LDS")).rounds(64)


def test_a_thread_that_needs_no_loop_runs_past_it():
    before = "        /*0005*/ LDG.E.128 R20, desc[UR4][R2.64] ;\n        /*0010*/              @!P0 BRA `(.L_x_2) ;"
    code = CODE.replace("        /*0010*/              @!P0 BRA `(.L_x_2) ;", before)
    assert [len(hot_path(code, loaded).loops) for loaded in (16, 17)] == [0, 1]
