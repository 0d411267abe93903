"""Convolutions of few channels from cells of pixels, by wgmma and TMA, beside the plain kernels in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiled import CONV, card, cards, needs_compiler
from nets import network, train

from netspec.check.subject import Case, cpu
from netspec.check.writes import trip
from netspec.contract.tensor import Tensor
from netspec.layers._cuda import tma_cells_variants
from netspec.layers._cuda.implicit_gemm import Geometry
from netspec.layers._cuda.tma_cells import Cut, cut_of
from netspec.registry import layer_types
from netspec.runners.execution.session import Session

NEAR = 4e-3
"""Errors against the largest result: results are rounded to 8 bits, factors are as they are stored."""
CASES: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, int]]] = {
    "as conv1 of AlexNet: cells of 4 x 4 pixels, four elements at a time": (
        {"filters": 8, "size": 7, "stride": 4, "rounding": "ceil"}, (2, 13, 8, 3), (4, 4),
    ),
    "rows of whole windows, padding that is not the same everywhere": (
        {"filters": 8, "size": [3, 5], "stride": 1, "pad": [1, 2, 0, 3], "bias": False}, (2, 5, 4, 3), (1, 5),
    ),
    "strides that differ, windows that hang over the edge, tiles beyond the filters": (
        {"filters": 136, "size": [3, 4], "stride": [3, 2], "pad": [1, 0, 2, 3], "rounding": "ceil"},
        (2, 8, 9, 5),
        (3, 4),
    ),
    "a window smaller than its stride": ({"filters": 8, "size": 2, "stride": 3}, (2, 8, 7, 4), (3, 3)),
    "channels that are no whole parts of 16 bytes": ({"filters": 24, "size": 1}, (2, 3, 5, 20), (1, 1)),
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize(
    ("name", "columns"), [*((name, 64) for name in CASES), ("a window smaller than its stride", 48)]
)
def test_they_are_convolutions(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    attrs, shape, cell = CASES[name]
    monkeypatch.setattr(tma_cells_variants, "cut_of", lambda g: Cut(g, cell))
    case = Case(layer_types()["conv"], {**CONV, **attrs}, (Tensor(shape, "float32"),))
    single = case.stored_as_bfloat16().on(card(), variant=f"bf16_cells_{columns}")
    assert single.layer.supports(single.t, single.variant)
    random, names = np.random.default_rng(3), [name for name in single.t.roles if name != "y"]
    drawn = {name: random.standard_normal(single.t[name].shape) for name in names}
    values = single.rounded({**drawn, "dy": random.standard_normal(single.t.y.shape)})
    exact = {name: np.asarray(value, np.float64) for name, value in values.items()}
    got = trip(single, values).written
    for name, wanted in trip(case.on(cpu(), dtype="float64"), exact).written.items():
        assert np.abs(got[name].astype(np.float64) - wanted).max() <= NEAR * np.abs(wanted).max(), name


def test_layers_are_cut_as_takes_least_time() -> None:
    def cell(side: int, filters: int, size: int, stride: int, out: int) -> tuple[int, int]:
        sizes = (side, side), 3, filters, 1, (size, size), (stride, stride), (0, 0), (out, out)
        return cut_of(Geometry(128, *sizes)).cell

    assert cell(224, 96, 11, 4, 55) == (4, 4)  # to the last channel as they are needed
    assert cell(230, 64, 7, 2, 112) == (2, 7)  # cells of 2 x 2 pixels are a quarter of a box
    assert cell(226, 64, 3, 1, 224) == (3, 3)  # as much of a box as there is of a window


NET = """
    netspec: 1
    devices: [main]
    inputs:
      image: {shape: [6, 7, 3]}
      label: {dtype: int32}
    layers:
      - {name: conv1, type: conv, inputs: image, filters: 8, size: 3, pad: 1, init: {type: gaussian, std: 0.1}}
      - {name: relu1, type: relu}
      - {name: fc1, type: dense, units: 5, init: {type: gaussian, std: 0.1}}
      - {name: loss, type: softmax_loss, inputs: [fc1, label]}
    train: {precision: bf16, batch: 6, seed: 3}
    data: {mean: none, scale: 0.01}
"""


def learned() -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What an iteration changes, and the kernels of each step."""
    with Session(network(NET), ["cpu"], phases=("train",), runner="serial", opener=cards) as card:
        steps = {step.name: [one.kernel for one in step.passes] for step in card.programs["train"].steps}
        before = card.store.tensors()
        train(card, 1, shape=(6, 7, 3))
        return {name: one - before[name] for name, one in card.store.tensors().items()}, steps


@needs_compiler
def test_backward_finds_the_cells_of_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    got, steps = learned()
    assert "conv:fill_cells_forward" in steps["conv1.forward@main"]
    assert "conv:d_weight_cells_48" in steps["conv1.backward@main"]
    assert "conv:fill_cells_backward" not in steps["conv1.backward@main"]
    conv = layer_types()["conv"]
    monkeypatch.setattr(conv, "supports", lambda self, t, variant: variant == "plain")
    wanted, steps = learned()
    assert "conv:d_weight_chunk_cuda" in steps["conv1.backward@main"]
    for name in ("conv1.weight", "conv1.bias"):
        assert np.abs(got[name] - wanted[name]).max() <= 0.01 * np.abs(wanted[name]).max(), name
