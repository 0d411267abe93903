"""Products by mma.sync of what is bfloat16 in memory: edges of each kind beside the plain kernels in float64."""

from __future__ import annotations

from typing import Any

import pytest
from compiled import CONV, DEFAULTS, EmulatedCuda, needs_compiler
from tma_products import check_variant

from netspec.check.subject import Case
from netspec.contract.tensor import Tensor
from netspec.program.choice import candidates
from netspec.registry import layer_types

pytestmark = needs_compiler
AMPERE, ADA, HOPPER, BLACKWELL = (8, 0), (8, 9), (9, 0), (12, 0)
SPREAD = {"filters": 4, "size": [3, 2], "stride": [2, 4], "dilation": [3, 2], "pad": [1, 2, 3, 1]}
PRODUCTS: dict[str, tuple[str, dict[str, Any], tuple[int, ...], str]] = {
    "whole units, two tiles of rows, more stages than shared memory holds": (
        "conv", {"filters": 16, "size": 3, "pad": 1}, (2, 9, 8, 16), "64x64",
    ),
    "pairs, runs of whole rows": (
        "conv", {"filters": 6, "size": [3, 11], "stride": 4, "rounding": "ceil"}, (1, 8, 20, 3), "64x64",
    ),
    "single elements": ("conv", {"filters": 7, "size": 3, "pad": 1}, (2, 5, 5, 3), "64x64"),
    "dilation that a stride divides, and one that it does not": ("conv", SPREAD, (2, 9, 8, 4), "64x64"),
    "groups, dilated": ("conv", {**SPREAD, "groups": 2, "bias": False}, (1, 9, 8, 4), "64x64"),
    "two tiles of columns": ("conv", {"filters": 72, "size": [1, 2]}, (1, 3, 4, 136), "128x64"),
    "the largest tile": ("conv", {"filters": 40, "size": 2}, (2, 9, 9, 24), "128x128"),
    "units of no whole unit": ("dense", {"units": 10}, (5, 3, 4, 6), "64x64"),
    "groups of an image": ("dense", {"units": 12, "groups": 2}, (3, 1, 2, 8), "64x64"),
    "terms in chunks": ("dense", {"units": 24, "bias": False}, (5, 1000), "128x128_split"),
}  # fmt: skip
"""Layer, attributes, the input's shape, and the variant's name behind bf16_stored_."""


@pytest.mark.parametrize("name", PRODUCTS)
def test_edges(name: str) -> None:
    layer_type, attrs, shape, tile = PRODUCTS[name]
    defaults = CONV if layer_type == "conv" else DEFAULTS
    check_variant(EmulatedCuda(AMPERE), layer_type, {**defaults, **attrs}, shape, f"bf16_stored_{tile}")


def ranked(
    layer_type: str, attrs: dict[str, Any], shape: tuple[int, ...], capability: Any, direction: Any = "forward"
) -> tuple[str, ...]:
    """The variants for a device of that capability, best first."""
    defaults = CONV if layer_type == "conv" else DEFAULTS
    case = Case(layer_types()[layer_type], {**defaults, **attrs}, (Tensor(shape, "bfloat16"),))
    layer = case.layer()
    return candidates(layer, layer.tensors(case.given("train")), "cuda", direction, (), capability)


CONV3 = {"filters": 384, "size": 3, "pad": 1}


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_hopper_takes_pipelines_first_and_other_cards_have_none(direction: str) -> None:
    found = ranked("conv", CONV3, (128, 13, 13, 256), HOPPER, direction)
    kinds = [name.split("_")[1] for name in found if name != "plain"]
    assert kinds == sorted(kinds, reverse=True) and set(kinds) == {"wgmma", "stored"}
    for capability in (AMPERE, ADA, BLACKWELL):
        names = ranked("conv", CONV3, (128, 13, 13, 256), capability, direction)
        assert names[-1] == "plain" and all(name.startswith("bf16_stored_") for name in names[:-1])


@pytest.mark.parametrize(
    ("layer_type", "attrs", "shape"),
    [
        ("conv", {**CONV3, "filters": 10}, (16, 13, 13, 12)),
        ("conv", {**CONV3, "dilation": 2}, (16, 13, 13, 64)),
        ("dense", {"units": 64, "groups": 2}, (16, 4, 4, 64)),
    ],
    ids=["channels of no whole unit", "dilation", "dense groups"],
)
def test_hopper_takes_them_where_pipelines_cannot_be(layer_type: str, attrs: dict[str, Any], shape: Any) -> None:
    for direction in ("forward", "backward"):
        assert ranked(layer_type, attrs, shape, HOPPER, direction)[0].startswith("bf16_stored_")


def test_tiles_and_chunks_by_the_card() -> None:
    """Large tiles feed an A100's tensor cores; a consumer card's are slower, and what small tiles leave out counts."""
    assert ranked("conv", CONV3, (512, 13, 13, 256), AMPERE)[0] == "bf16_stored_128x128"
    assert ranked("conv", {**CONV3, "filters": 192}, (128, 13, 13, 256), ADA)[0] != "bf16_stored_128x128"
    assert ranked("dense", {"units": 4096}, (128, 9216), AMPERE)[0] == "bf16_stored_128x128_split"
    assert not ranked("dense", {"units": 4096}, (4096, 9216), AMPERE)[0].endswith("_split")
