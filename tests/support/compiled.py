"""Kernels written in Python, as numba-cuda compiles them for a card, on the emulator."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")

from netspec.check.subject import Case, cpu, draw
from netspec.check.writes import trip
from netspec.contract.tensor import Tensor
from netspec.device.emulated.device import EmulatedCuda
from netspec.kernels.toolkit import finds_compiler
from netspec.registry import layer_types

needs_compiler = pytest.mark.skipif(
    not finds_compiler(), reason="the CUDA compiler is not installed: pip install 'netspec[gates]'"
)
DEFAULTS = {"init": {"type": "gaussian", "std": 0.1}, "bias_init": 0.0, "bias": True, "groups": 1}
CONV = {**DEFAULTS, "stride": 1, "pad": 0, "rounding": "floor"}
PRODUCTS = {
    "runs as in conv1": ("conv", {"filters": 6, "size": [3, 11], "stride": 4, "rounding": "ceil"}, (1, 8, 20, 3)),
    "runs cut off on the left": ("conv", {"filters": 4, "size": [1, 3], "stride": 4, "pad": [0, 4]}, (1, 2, 8, 3)),
    "aligned, two tiles of columns": ("conv", {"filters": 68, "size": 1}, (1, 2, 3, 8)),
    "many stages, two tiles of rows": ("conv", {"filters": 4, "size": 3, "pad": 1}, (2, 6, 6, 12)),
    "aligned groups": ("conv", {"filters": 8, "size": 2, "groups": 2, "stride": 2, "pad": 1}, (2, 4, 3, 16)),
    "odd groups": ("conv", {"filters": 6, "size": [2, 3], "groups": 2, "pad": [0, 1], "stride": [1, 2]}, (2, 3, 5, 6)),
    "a window smaller than its stride": ("conv", {"filters": 3, "size": 1, "stride": 2}, (1, 4, 3, 5)),
    "dilation beside strides": (
        "conv", {"filters": 4, "size": [3, 2], "stride": [2, 4], "dilation": [3, 2], "pad": [1, 2, 3, 1]}, (2, 9, 8, 4),
    ),
    "many images, weights of two tiles": ("dense", {"units": 72}, (18, 2, 3, 12)),
    "groups of an image": ("dense", {"units": 8, "groups": 2}, (3, 1, 2, 8)),
}  # fmt: skip
"""Convolutions and dense layers whose products of matrices have an edge of each kind: type, attributes, input."""


@functools.cache
def _card(number: int, capability: tuple[int, int]) -> EmulatedCuda:
    return EmulatedCuda(capability)


def cards(names: Sequence[str], capability: tuple[int, int] = (9, 0)) -> list[EmulatedCuda]:
    """A card for each name, the same ones for all tests of a process: kernels stay bound to the frames they ran in."""
    return [_card(number, capability) for number in range(len(names))]


def card(capability: tuple[int, int] = (9, 0)) -> EmulatedCuda:
    """The first of ``cards``."""
    return _card(0, capability)


def product(name, variant, products=PRODUCTS):
    """A layer's CUDA variant against its plain kernels in float64, as a share of the sum of absolute terms."""
    layer, attrs, shape = products[name]
    case = Case(
        layer_types()[layer], {**(CONV if layer == "conv" else DEFAULTS), **attrs}, (Tensor(shape, "float32"),)
    )
    values, single = draw(case), case.on(card(), variant=variant)
    assert single.layer.supports(single.t, variant)
    host = case.on(cpu(), dtype="float64")
    expected = trip(host, values).written
    terms = trip(host, {key: np.abs(value) for key, value in values.items()}).written
    got = trip(single, values).written
    for key, value in expected.items():
        assert np.abs(got[key] - value).max() <= single.layer.bounds.get(variant, 1e-5) * terms[key].max(), key


def launched(kernel, *args, threads=32, blocks=1, capability=(9, 0)):
    """Run a kernel on copies of arrays, and on numbers; the arrays hold the results."""
    gpu = card(capability)
    given = [gpu.empty(one.shape, str(one.dtype)) if isinstance(one, np.ndarray) else one for one in args]
    arrays = [(host, there) for host, there in zip(args, given, strict=True) if isinstance(host, np.ndarray)]
    for host, there in arrays:
        gpu.upload(there, host)
    try:
        gpu.execute(kernel, "float32", None, (blocks,), (threads,), tuple(given))
    finally:
        for host, there in arrays:
            np.copyto(host, there)
