"""Predictions of a few images by weights in bfloat16: against float64 on rounded weights, teams, choice, vectors."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from netspec.check.compare import error
from netspec.check.shuffled import ShuffledCpu
from netspec.check.single import SingleLayer
from netspec.check.subject import cpu
from netspec.contract.tensor import Shape, Tensor
from netspec.contract.variant import Capability
from netspec.device.base import Device
from netspec.device.cpu import bfloat16_unit
from netspec.device.dtypes import numpy_dtype
from netspec.kernels.cpu import llvm_of, type_of
from netspec.layers._cpu import bf16_panels as panels
from netspec.program.choice import candidates
from netspec.runners.execution.session import Session
from netspec.spec import loads

SUMS = 2e-6
"""Error of float32 sums, as a share of the largest result."""
STORED = {"float32": "bf16_weights", "bfloat16": "bf16_panels"}


def single(
    shape: Shape, units: int, dtype: str = "float32", device: Device | None = None, bias: bool = True
) -> SingleLayer:
    attrs, x = {"units": units, "bias": bias}, Tensor(shape, dtype)
    return SingleLayer("dense", attrs, [x], device or cpu(), phase="predict", variant=STORED[dtype])


def drawn(one: SingleLayer) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    tensors = {"x": one.t.x, "weight": one.t.weight, **({"bias": one.t.bias} if one.layer.attrs.bias else {})}
    return {name: rng.standard_normal(tensor.shape).astype(np.float32) for name, tensor in tensors.items()}


def narrow(value: Any) -> Any:
    return value.astype(ml_dtypes.bfloat16).astype(np.float64)


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize(
    ("shape", "units", "bias"),
    [
        ((1, 8 * panels.TERMS), 1024, True),
        ((3, 2 * panels.STREAMS * panels.TERMS + 5), 2 * panels.UNITS + 5, True),
        ((8, 5, 5, 41), 4 * panels.UNITS + panels.HALF + 1, False),
        ((2, panels.STREAMS - 3), 60_000, True),
    ],
)
def test_is_exact_but_for_rounded_weights(shape: Shape, units: int, bias: bool, dtype: str) -> None:
    one = single(shape, units, dtype, bias=bias)
    values = drawn(one)
    x = narrow(values["x"]) if dtype == "bfloat16" else values["x"].astype(np.float64)
    wanted = x.reshape(shape[0], -1) @ narrow(values["weight"]).reshape(-1, units) + values.get("bias", 0.0)
    got = np.asarray(one.forward(values)["y"], np.float64)
    assert error(got, wanted) <= SUMS + (2.0**-8 if dtype == "bfloat16" else 0)
    exact = values["x"].reshape(shape[0], -1).astype(np.float64) @ values["weight"].reshape(-1, units)
    assert dtype == "bfloat16" or error(got, exact + values.get("bias", 0.0)) <= panels.ERROR


def test_any_team_gives_the_same_bits() -> None:
    usual = single((2, 1031), 300)
    values = drawn(usual)
    wanted = usual.forward(values)["y"].tobytes()
    for team in (1, 2, 3):
        assert single((2, 1031), 300, device=ShuffledCpu(team, team)).forward(values)["y"].tobytes() == wanted


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_image(value: float) -> None:
    one = single((2, 1031), 300)
    values = drawn(one)
    usual = one.forward(values)["y"]
    values["x"][1, 0] = value
    got = one.forward(values)["y"]
    assert not np.isfinite(got[1]).any()
    np.testing.assert_array_equal(got[0], usual[0])
    values["weight"][7, 11] = value
    assert np.flatnonzero(~np.isfinite(one.forward(values)["y"][0])).tolist() == [11]


@pytest.mark.parametrize(
    ("shape", "units", "phase", "capability", "taken"),
    [
        ((8, 1024), 256, "predict", "weights", True),
        ((9, 1024), 256, "predict", "weights", False),
        ((8, 1024), 255, "predict", "weights", False),
        ((8, 1024), 256, "train", "weights", False),
        ((8, 1024), 256, "eval", "weights", False),
        ((8, 1024), 256, "predict", None, False),
        ((8, 1024), 256, "predict", "avx512_bf16", False),
    ],
)
def test_is_for_predictions_of_a_few_images_by_large_layers(
    shape: Shape, units: int, phase: Any, capability: Capability | None, taken: bool
) -> None:
    one = SingleLayer("dense", {"units": units}, [Tensor(shape)], cpu(), phase=phase)
    assert (candidates(one.layer, one.t, "cpu", "forward", (), capability)[0] == "bf16_weights") == taken
    stored = SingleLayer("dense", {"units": units}, [Tensor(shape, "bfloat16")], cpu(), phase=phase)
    few = phase == "predict" and shape[0] == 8 and units == 256
    assert (candidates(stored.layer, stored.t, "cpu", "forward", (), "emulated")[0] == "bf16_panels") == few


def test_groups_are_left_to_others() -> None:
    one = SingleLayer("dense", {"units": 512, "groups": 2}, [Tensor((1, 4096))], cpu(), phase="predict")
    assert "bf16_weights" not in candidates(one.layer, one.t, "cpu", "forward", (), "weights")


NET = """
    netspec: 1
    inputs: {image: {shape: [16, 16, 4]}, label: {dtype: int32}}
    layers:
      - {name: fc1, type: dense, inputs: image, units: 256, init: {type: gaussian, std: 0.03}}
      - {name: fc2, type: dense, units: 5, init: {type: gaussian, std: 0.1}}
      - {name: loss, type: softmax_loss, inputs: [fc2, label]}
    train: {precision: PRECISION}
"""


def test_a_net_in_bf16_predicts_so_where_the_processor_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("netspec.device.cpu.device", "netspec.device.cpu.bfloat16_unit"):
        monkeypatch.setattr(f"{place}.cpu_bfloat16", lambda: "weights")
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 4), np.uint8)
    answers = {}
    for precision in ("float32", "tf32", "bf16"):
        with Session(loads(NET.replace("PRECISION", precision)), ["cpu:0"], phases=("predict",), batch=2) as session:
            variants = {step.layer: step.attrs["variant"] for step in session.programs["predict"].steps if step.layer}
            assert (variants["fc1"] == "bf16_weights", variants["fc2"]) == (precision == "bf16", "gemv")
            assert session.storage == "float32"
            assert ("fc1: bf16_weights kernels, with an error bound of 4e-3" in session.notes) == (precision == "bf16")
            answers[precision] = session.predict({"image": images}, 2)
    np.testing.assert_array_equal(answers["float32"], answers["tf32"])
    assert 0 < abs(answers["bf16"] - answers["float32"]).max() < 0.02


@pytest.mark.skipif("+avx2" not in bfloat16_unit._target()[1], reason="its instructions are AVX2's")
def test_weights_are_widened_in_vector_registers() -> None:
    """A load, a shift, a mask and two multiply-adds for every vector of words, and no conversion."""
    one = single((1, 4096), 256)
    (products,) = (each for each in one.passes("forward") if each.kernel.endswith("forward_words"))
    shapes = one.layer.workspace(one.t, "bf16_weights", "forward")
    arrays = {"x": np.zeros((1, 4096), np.float32), "y": np.zeros((1, 256), np.float32)}
    arrays |= {name: np.zeros(space.shape, numpy_dtype(space.dtype)) for name, space in shapes.items()}
    types = [type_of(0), type_of(0), *(type_of(arrays[str(name)]) for name, _ in products.args)]
    text = llvm_of(panels.forward_words.function, "float32", tuple(types))
    loop = max(re.split(r"^\S+:", text, flags=re.MULTILINE), key=lambda block: block.count("fmuladd.v"))
    vectors = loop.count("fmuladd.v") // 2
    assert vectors >= panels.STREAMS and len(re.findall(r"shl <\d+ x i32>", loop)) == vectors
    assert len(re.findall(r"load <\d+ x i32>", loop)) == len(re.findall(r"and <\d+ x i32>", loop)) == vectors
