"""Products by mma.sync of what is bfloat16 in memory: edges of each kind beside the plain kernels in float64."""

from __future__ import annotations

from typing import Any

import pytest
from compiled import CONV, DEFAULTS, card, needs_compiler
from compiled import PRODUCTS as OTHERS
from stored_products import PRODUCTS, check

from netspec.check.subject import Case
from netspec.contract.tensor import Tensor
from netspec.layers._cuda.mma_block_tile import STORED_TILES
from netspec.program.choice import candidates
from netspec.registry import layer_types

pytestmark = needs_compiler
AMPERE, ADA, HOPPER, BLACKWELL = (8, 0), (8, 9), (9, 0), (12, 0)
@pytest.mark.parametrize("name", PRODUCTS)
def test_edges(name: str) -> None:
    check(card(AMPERE), *PRODUCTS[name])


@pytest.mark.slow
@pytest.mark.parametrize("tile", STORED_TILES, ids=str)
@pytest.mark.parametrize("name", OTHERS)
def test_every_shape_with_every_tile(name: str, tile: Any) -> None:
    check(card(AMPERE), *OTHERS[name], str(tile))


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
