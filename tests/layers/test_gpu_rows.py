"""Rows and columns that threads of a GPU sum together, emulated: of widths that they share in each way."""

from __future__ import annotations

import numpy as np
import pytest

from netspec.check.single import SingleLayer
from netspec.check.subject import complete, cpu, gpu
from netspec.contract.tensor import Tensor
from netspec.device.gpus import finds_compiler
from netspec.registry import layer_types

pytestmark = pytest.mark.skipif(not finds_compiler(), reason="CUDA's compiler is not installed")
WIDTHS = [
    ("layer_norm", (5, 4), {}),  # a lane a row
    ("layer_norm", (5, 12), {}),  # the same, of three vectors
    ("layer_norm", (3, 768), {}),  # 64 lanes of three vectors
    ("layer_norm", (3, 640), {}),  # of which some have nothing in their third
    ("layer_norm", (3, 832), {}),  # 128 lanes, of which some have nothing in their second
    ("layer_norm", (3, 2048), {}),
    ("layer_norm", (2, 3072), {}),  # the most that a block has in registers
    ("layer_norm", (2, 3076), {}),  # more: element by element
    ("layer_norm", (3, 1020), {"groups": 4}),  # rows that are no whole vectors
    ("batch_norm", (300, 2, 1, 48), {}),  # two parts, of rows four at a time and the rest
    ("batch_norm", (70, 516), {}),  # three blocks side by side, the last one with a single vector
    ("batch_norm", (130, 5), {}),
    ("mse", (3, 1000), {}),
    ("mse", (9, 20), {}),
    ("mse", (9, 3), {}),
]


@pytest.mark.parametrize(("kind", "shape", "attrs"), WIDTHS)
def test_the_emulated_gpu_agrees_with_float64(kind, shape, attrs) -> None:
    rng, given = np.random.default_rng(3), complete(layer_types()[kind], attrs)
    inputs = [Tensor(shape)] * len(layer_types()[kind].inputs)
    exact = SingleLayer(kind, given, inputs, cpu(), dtype="float64")
    card = SingleLayer(kind, given, inputs, gpu())
    drawn = {one: rng.normal(1, 2, card.t[one].shape).astype(np.float32) for one in card.t.names("input")}
    drawn |= {one: rng.normal(1, 2, card.t[one].shape).astype(np.float32) for one in card.t.names("parameter")}
    drawn |= {one: np.abs(rng.normal(size=card.t[one].shape)).astype(np.float32) for one in card.t.names("state")}
    slope = {"d_y": rng.normal(size=shape).astype(np.float32)} if "y" in card.t.roles else {}
    for direction in ("forward", "backward"):
        found, wanted = _done(card, direction, drawn, slope), _done(exact, direction, drawn, slope)
        assert found.keys() == wanted.keys() != set()
        for name, array in wanted.items():
            scale = np.abs(array).max() + 1e-30
            np.testing.assert_allclose(found[name] / scale, array / scale, atol=3e-6, err_msg=f"{direction} {name}")


def _done(layer, direction, drawn, slope):
    if direction == "forward":
        return layer.forward(drawn)
    values = {**drawn, **layer.forward(drawn), **slope}
    asked = {str(one) for one in layer.writes("backward")}
    return layer.backward({name: value for name, value in values.items() if name not in asked})
