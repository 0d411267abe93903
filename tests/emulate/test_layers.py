"""Every layer's CUDA kernels, in the machine's own instructions, against the CPU's."""

from __future__ import annotations

import re
from math import prod

import numpy as np
import pytest
from compiled import EmulatedCuda, needs_compiler
from nets import same_bits

from netspec.check.compare import agree
from netspec.check.half_storage import check_cuda_bfloat16
from netspec.check.propagation import hold_to_plain
from netspec.check.subject import Case, Subject, complete, cpu, draw
from netspec.check.suite import outcome
from netspec.check.writes import trip, variants_on
from netspec.contract.kernel import PHASES
from netspec.contract.tensor import Tensor
from netspec.registry import layer_types

pytestmark = needs_compiler


def _kind(name, variant):
    """Kernels that come in tiles take long to compile: all but the smallest are slow."""
    tile = re.search(r"_(\d+)x(\d+)", variant)
    large = tile is not None and int(tile[1]) * int(tile[2]) > 64 * 64
    return pytest.param(name, variant, marks=[pytest.mark.slow] if large else [])


STORED = "bf16_wgmma", "bf16_cells", "bf16_stored"
"""Variants for activations that are stored as bfloat16 alone: see test_tma_products, test_tma_cells and
test_stored_products."""
KINDS = [
    _kind(name, variant)
    for name, cls in sorted(layer_types().items())
    for variant in dict.fromkeys(kernel.variant for kernel in cls.kernels if "cuda" in kernel.backends)
    if not variant.startswith(STORED)
]


@pytest.fixture(scope="module")
def card():
    return EmulatedCuda()


@pytest.mark.parametrize(("name", "variant"), KINDS)
def test_kernels(name, variant, card):
    """Forward and backward against plain kernels in float64. To read what nobody has written is a fault there."""
    done = []
    subject = Subject(name)
    for phase in PHASES:
        for case, values in subject.trips(phase):
            single = case.on(card, phase, variant=variant)
            work = (str(case), single.passes("forward"))
            able = variant == "plain" or single.layer.supports(single.t, variant)
            if able and work not in done:
                done.append(work)
                _compare(case, single, subject.device, values)
                if any("counters" in dict(one.args) for one in single.passes("forward")):
                    _compare(case, single, subject.device, values, 3, max(1, case.inputs[0].shape[0] - 1))
    assert done


def test_double_precision_is_the_kernels_own_dtype(card):
    case = Subject("relu").cases[0]
    assert case.on(card, dtype="float64").forward(draw(case))["y"].dtype == "float64"


@pytest.mark.parametrize("name", dict.fromkeys(kind.values[0] for kind in KINDS))
def test_activations_stored_as_bfloat16(name):
    result = outcome(check_cuda_bfloat16, Subject(name, ("cpu", "cuda")))
    assert result.status == "passed", result.message


def _compare(case, single, host, values, *counters):
    """``counters``: the iteration, and how many rows of the batch count."""
    exact = case.on(host, single.layer.phase, dtype="float64")
    magnitudes = {name: np.abs(value) for name, value in values.items()}
    wanted, terms = trip(exact, values, *counters), trip(exact, magnitudes, *counters)
    got = trip(single, values, *counters).written
    bound = single.layer.bounds.get(single.variant, 1e-5)
    for name, array in wanted.written.items():
        if name in got:
            agree(name, got[name], array, f"{single.variant} ({case})", bound, terms.written[name])


@pytest.mark.parametrize("name", ["pool", "softmax_loss"])
def test_results_are_the_same_again(name, card):
    """Whatever memory held before; on the emulator nothing else could differ, in any kernel."""
    for case, values in Subject(name).trips():
        once, again = (trip(case.on(card, poison=poison), values).written for poison in (np.nan, 1234.5))
        same_bits(again, once)


@pytest.mark.parametrize(("name", "variant"), KINDS)
def test_nan_and_infinities_reach_what_they_feed(name, variant, card):
    """By the smallest case that runs each kernel."""
    hold_to_plain(Subject(name), card, variant, chosen=_smallest(Subject(name), variant, card))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), KINDS)
def test_nan_and_infinities_in_every_case(name, variant, card):
    hold_to_plain(Subject(name), card, variant)


def _smallest(subject, variant, card):
    """A case for each set of kernels that the variant runs in training: the one with the fewest numbers."""
    found = {}
    for case in sorted(subject.cases, key=lambda case: sum(prod(one.shape) for one in case.inputs)):
        for single in variants_on(card, case):
            if single.variant == variant:
                passes = [one for direction in single.directions for one in single.passes(direction)]
                found.setdefault(tuple((one.kernel, one.then) for one in passes), case)
    return tuple(found.values())


LARGER = {
    "tiles and stages, cut off": ("local", {"filters": 40, "size": 3, "pad": 1}, (40, 5, 6, 36)),
    "more images than a tile has": ("local", {"filters": 33, "size": 3, "stride": 2, "bias": False}, (70, 7, 6, 35)),
    "a bias for all places": ("local", {"filters": 40, "size": 3, "pad": 1, "shared_bias": True}, (35, 5, 6, 36)),
    "AlexNet's classes": ("softmax_loss", {}, (37, 1000), (37,)),
    "many rows": ("softmax_loss", {}, (300, 10), (300,)),
    "rows that are not in fours": ("softmax_loss", {}, (70, 1003), (70,)),
    "AlexNet's second, across": ("lrn", {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}, (3, 13, 13, 128)),
    "windows of an image": ("lrn_within", {"size": 5, "alpha": 0.1, "beta": 0.75, "k": 2.0}, (3, 30, 31, 20)),
    "windows, odd channels": ("lrn_within", {"size": 5, "alpha": 0.1, "beta": 0.75, "k": 2.0}, (2, 30, 31, 7)),
    "averages": ("pool", {"mode": "average", "size": 3, "stride": 2}, (3, 30, 31, 20)),
    "largest, odd channels": ("pool", {"mode": "max", "size": 3, "stride": 2, "pad": 1}, (3, 30, 31, 19)),
    "many elements": ("tanh", {}, (128, 4096)),
    "parts in fours": ("concat", {}, (20, 13, 13, 96), (20, 13, 13, 32)),
    "parts not in fours": ("concat", {}, (20, 13, 13, 96), (20, 13, 13, 33)),
    "products without tensor cores": ("conv", {"filters": 70, "size": 3, "pad": 1}, (40, 9, 9, 7)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGER)
def test_larger_shapes(name, card):
    """Several blocks, tiles and rounds of each loop; tiles of precisions are in test_tensor_cores.py."""
    layer, attrs, *shapes = LARGER[name]
    cls = layer_types()[layer]
    given = complete(
        cls, {**attrs, **({"init": {"type": "gaussian", "std": 0.1}} if "init" in cls.attrs_schema else {})}
    )
    names = cls.input_names(len(shapes))
    kinds = ["int32" if one == "label" else "float32" for one in names]
    case = Case(cls, given, tuple(map(Tensor, shapes, kinds)))
    for single in variants_on(card, case):
        if not single.variant.startswith(("float32", "tf32", "bf16")):
            _compare(case, single, cpu(), draw(case))
