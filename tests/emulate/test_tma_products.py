"""Products by wgmma and TMA: edges of tiles, windows and groups beside the plain kernels in float64, and epilogues."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiled import CONV, DEFAULTS, card, cards, needs_compiler
from nets import network, train
from tma_products import PRODUCTS, check

from netspec.check.subject import Case
from netspec.contract.tensor import Tensor
from netspec.program.choice import candidates
from netspec.registry import layer_types
from netspec.runners.execution.session import Session

pytestmark = needs_compiler
SHAPE = (7, 6, 8)
NET = """
    netspec: 1
    devices: [main]
    inputs:
      image: {shape: [7, 6, 8]}
      label: {dtype: int32}
    layers:
      - {name: conv1, type: conv, inputs: image, filters: 16, size: 3, pad: 1, init: {type: gaussian, std: 0.1}}
      - {name: relu1, type: relu}
      - {name: conv2, type: conv, filters: 32, size: 3, stride: 2, pad: 1, groups: 2, init: {type: gaussian, std: 0.1}}
      - {name: relu2, type: relu}
      - {name: fc1, type: dense, units: 40, init: {type: gaussian, std: 0.1}}
      - {name: relu3, type: relu}
      - {name: fc2, type: dense, units: 8, init: {type: gaussian, std: 0.1}}
      - {name: loss, type: softmax_loss, inputs: [fc2, label]}
    train: {precision: bf16, batch: 6, seed: 3}
    data: {mean: none, scale: 0.01}
"""


@pytest.mark.parametrize("name", PRODUCTS)
def test_edges(name: str) -> None:
    check(card(), *PRODUCTS[name])


def learned(monkeypatch: pytest.MonkeyPatch, off: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Parameters after an iteration without variants of such names, and the variants by step."""
    for name in ("conv", "dense"):
        cls = layer_types()[name]
        supports = cls.supports

        def able(self: Any, t: Any, variant: str, supports: Any = supports) -> bool:
            return not variant.startswith(off) and bool(supports(self, t, variant))

        monkeypatch.setattr(cls, "supports", able)
    spec = network(NET)
    with Session(spec, ["cpu"], phases=("train",), runner="serial", opener=cards) as card:
        steps = {step.name: step.attrs["variant"] for step in card.programs["train"].steps if "variant" in step.attrs}
        train(card, 1, shape=SHAPE)
        return dict(card.store.tensors()), steps


def test_with_relu_as_their_epilogue_they_learn_what_plain_kernels_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of the same factors in another order, rounded to the same numbers, but for a few."""
    got, steps = learned(monkeypatch, "bf16_cells")
    assert steps["conv2.backward@main"] == "bf16_wgmma_64_48" and steps["fc1.forward@main"] == "bf16_wgmma_64"
    assert not [name for name in steps if name.startswith("relu")]
    wanted, steps = learned(monkeypatch, "bf16_")
    assert set(steps.values()) >= {"plain"} and not [one for one in steps.values() if one.startswith("bf16")]
    for name, value in wanted.items():
        if "momentum" in name:
            assert np.abs(got[name] - value).max() <= 0.02 * np.abs(value).max(), name


def best(layer_type: str, attrs: dict[str, Any], shape: tuple[int, ...], direction: Any) -> str:
    """The variant that is taken on Hopper."""
    case = Case(layer_types()[layer_type], attrs, (Tensor(shape, "bfloat16"),))
    layer = case.layer()
    return candidates(layer, layer.tensors(case.given("train")), "cuda", direction, (), (9, 0))[0]


@pytest.mark.parametrize(
    ("filters", "size", "shape", "forward", "backward"),
    [
        (128, 5, (128, 27, 27, 48), "128_48", "128_48"),
        (384, 3, (128, 13, 13, 256), "192_64", "128_128"),
        (192, 3, (128, 13, 13, 192), "96_64", "192_96"),
    ],
)
def test_tiles_by_the_shapes_of_alexnet(filters, size, shape, forward, backward) -> None:  # type: ignore[no-untyped-def]
    attrs = {**CONV, "filters": filters, "size": size, "pad": size // 2}
    for direction, columns in (("forward", forward), ("backward", backward)):
        assert best("conv", attrs, shape, direction) == f"bf16_wgmma_{columns}"


def test_small_batches_of_dense_layers_are_split() -> None:
    attrs = {**DEFAULTS, "units": 4096}
    assert best("dense", attrs, (128, 9216), "forward").endswith("_split")
    assert not best("dense", attrs, (1024, 9216), "forward").endswith("_split")
