"""Machine code of the kernels that are bound by memory: it moves 128 bits at a time."""

from functools import cache

import pytest

from netspec.check.ptx import find_ptxas
from netspec.check.sass import disassembled, find_disassembler, instructions, wide_accesses
from netspec.check.signatures import cuda_signatures
from netspec.device.gpus import finds_compiler

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
    "lrn_within:forward_vector_cuda": (6, 1),
    "lrn_within:ratio_vector_cuda": (7, 2),
    "lrn_within:backward_vector_cuda": (7, 1),
    "pool:max_vector_cuda": (9, 2),
    "pool:max_only_vector_cuda": (9, 1),
    "pool:d_max_vector_cuda": (8, 1),
    "pool:average_vector_cuda": (9, 1),
    "pool:d_average_vector_cuda": (4, 1),
    "softmax_loss:judge_vector_cuda": (2, 1),
    "softmax_loss:probs_vector_cuda": (2, 1),
    "softmax_loss:backward_vector_cuda": (1, 1),
    "ops.update:update_cuda": (3, 2),
    "ops.finite:check_cuda": (4, 0),
    "ops.prepare:prepare_cuda": (1, 4),
    "ops.sum:add_vector_cuda": (2, 1),
    "ops.sum:zero_vector_cuda": (0, 1),
    "ops.commit:commit_cuda": (1, 1),
    "sum:forward_cuda": (4, 2),
    "sum:backward_cuda": (2, 2),
    "concat:forward_vector_cuda": (2, 2),
    "concat:backward_vector_cuda": (2, 2),
}
"""Loads and stores of 128 bits that a kernel has at least: of the mean, in prepare, whose images are bytes."""


@cache
def signatures():
    return {one.kernel: one for one in cuda_signatures()}


@pytest.mark.parametrize("kernel", WIDE)
def test_accesses_are_of_128_bits(kernel):
    loads, stores = wide_accesses(instructions(signatures()[kernel], (9, 0)))
    assert loads >= WIDE[kernel][0] and stores >= WIDE[kernel][1], (loads, stores)


def test_every_vector_kernel_is_looked_at():
    vector = {name for name, one in signatures().items() if one.variant == "vector"}
    assert vector - set(WIDE) == {"softmax_loss:report_vector_cuda"}  # four numbers in all


def test_loads_are_on_their_way_together():
    """The finite check waits for none of its loads before the last one is started."""
    text = disassembled(signatures()["ops.finite:check_cuda"], (9, 0))
    between = text[text.index("LDG.E.128") : text.rindex("LDG.E.128")]
    assert between.count("LDG.E.128") == 3 and "FSETP" not in between and "BRA" not in between
