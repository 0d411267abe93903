"""ONNX models that layers here cannot say: each such node is named, with its reason, and nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
from onnx import helper
from onnx_graphs import FLOAT, Model, torchvision_alexnet
from onnx_nets import imported

from netspec.errors import NetspecError
from netspec.exchange.formats import Asked


def of_nodes(*shape: int | str, **more: Any) -> Callable[[Callable[[Model], str]], Any]:
    def made(write: Callable[[Model], str]) -> Any:
        m = Model(*shape, **more)
        return m.made(write(m))

    return made


def refused(model: Any, folder: Path) -> str:
    with pytest.raises(NetspecError) as caught:
        imported(model, folder)
    assert not (folder / "net.safetensors").exists() and not (folder / "net.yaml").exists()
    return str(caught.value)


def test_all_nodes_without_a_layer_are_named(tmp_path: Path) -> None:
    m = Model("N", 3, 8, 8)
    v = m.add("LRN", "x", size=4, name="/body/even")
    v = m.add("Clip", m.add("Relu", v), name="relu6")
    v = m.add("Softplus", m.add("Conv", "x", m.weight(4, 3, 3, 3)), name="softplus")
    text = refused(m.made(m.add("Flatten", v)), tmp_path)
    assert text.splitlines()[1:] == ["  node 'softplus' (Softplus): no layer here does that"]
    w = m.add("Add", m.add("Mish", "v0.0", name="mish"), m.add("Elu", "v0.0", name="elu"))
    lines = refused(m.made(m.add("Flatten", w)), tmp_path).splitlines()
    assert lines[0].endswith("1 of 5 nodes cannot be said by layers here:")
    assert lines[1] == "  node '/body/even' (LRN): its window has 4 channels: odd windows are understood"


REFUSALS: dict[str, tuple[Any, str]] = {
    "a quotient of two values": (
        of_nodes("N", 4)(lambda m: m.add("Div", "x", m.add("Sigmoid", "x"))),
        "reads a value where layers here have a constant",
    ),
    "a sum that is repeated": (
        of_nodes("N", 4, 3, 3)(lambda m: m.add("Add", "x", m.add("GlobalMaxPool", "x"))),
        "combines what has different shapes",
    ),
    "weights that are computed": (
        of_nodes("N", 4)(lambda m: m.add("MatMul", m.constant(np.eye(4)), "x")),
        "reads a constant where layers here read a value",
    ),
    "padding that mirrors": (
        of_nodes("N", 3, 4, 4)(lambda m: m.add("Relu", m.add("Pad", "x", m.constant(np.ones(8, int)), mode="reflect"))),
        "pads by other than a constant",
    ),
    "pixels between pixels": (
        of_nodes("N", 3, 4, 4)(lambda m: m.add("Resize", "x", "", m.constant(np.float32([1, 1, 2, 2])), mode="linear")),
        "other than repeat each pixel",
    ),
    "a normalisation of all": (
        of_nodes("N", 3, 4, 4)(lambda m: m.add("LayerNormalization", "x", m.weight(3, 4, 4), axis=1)),
        "more or other than the channels",
    ),
    "a normalisation across groups": (
        of_nodes("N", 6, 4, 4, opset=21)(
            lambda m: m.add("GroupNormalization", "x", m.weight(6), m.weight(6), num_groups=4)
        ),
        "4 groups do not divide",
    ),
    "bounds the wrong way round": (
        of_nodes("N", 4)(lambda m: m.add("Clip", "x", m.constant(np.float32(2)), m.constant(np.float32(1)))),
        "nothing lies between",
    ),
    "a bound for each channel": (
        of_nodes("N", 4)(lambda m: m.add("Clip", "x", m.constant(np.zeros(4)))),
        "bounds are no single numbers",
    ),
    "a slope below zero": (
        of_nodes("N", 4)(lambda m: m.add("LeakyRelu", "x", alpha=-0.5)),
        "slope",
    ),
    "a softmax over rows of pixels": (
        of_nodes("N", 3, 4, 4)(lambda m: m.add("Relu", m.add("Softmax", "x", axis=2))),
        "which does not have the channels",
    ),
    "examples that mix": (
        of_nodes("N", 4)(lambda m: m.add("Relu", m.add("Transpose", "x", perm=[1, 0]))),
        "mixes the examples of a batch",
    ),
    "a constant for each place": (
        of_nodes("N", 3, 4, 4)(lambda m: m.add("Add", m.add("Relu", "x"), m.weight(3, 4, 4))),
        "differs between the places of a channel",
    ),
    "logarithms in the middle": (
        of_nodes("N", 4)(lambda m: m.add("Gemm", m.add("LogSoftmax", "x"), m.weight(4, 4))),
        "logarithms are understood at the end alone",
    ),
    "dropout that goes on": (
        of_nodes("N", 4)(lambda m: m.add("Dropout", "x", m.constant(np.float32(0.5)), m.constant(np.bool_(True)))),
        "drops in inference too",
    ),
    "an even window": (
        of_nodes("N", 4, 2, 2)(lambda m: m.add("LRN", "x", size=4)),
        "odd windows are understood",
    ),
    "a free height": (
        of_nodes("N", 3, "H", "W")(lambda m: m.add("Relu", "x")),
        r"shape \[.*3, '\?', '\?'\].*fixed sizes",
    ),
    "weights that are not finite": (
        of_nodes("N", 4)(lambda m: m.add("MatMul", "x", m.constant(np.full((4, 4), np.nan)))),
        "holds NaN or infinities",
    ),
    "an operator of others": (
        of_nodes("N", 4)(lambda m: m.add("FusedConv", "x", domain="com.microsoft", name="fused")),
        r"node 'fused' \(com\.microsoft\.FusedConv\): no layer here does that",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_has_no_layer_is_told_with_its_node(case: str, tmp_path: Path) -> None:
    model, reason = REFUSALS[case]
    assert re.search(reason, refused(model, tmp_path), re.DOTALL)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Asked(mean=(1.0, 2.0)), "--mean: give one number, or 3: one for each channel"),
        (Asked(std=(0.0,)), "--std: images are divided by it; it must be above 0"),
        (Asked(output="nobody"), "has no output 'nobody'"),
        (Asked(cost="relu"), "no cost layer"),
        (Asked(devices=("a", "a")), "device"),
    ],
)
def test_options_that_do_not_fit(asked: Asked, reason: str, tmp_path: Path) -> None:
    with pytest.raises(NetspecError, match=reason):
        imported(torchvision_alexnet(), tmp_path, asked)


def test_one_of_several_outputs_is_named(tmp_path: Path) -> None:
    m = Model("N", 6)
    hidden = m.add("Relu", m.add("Gemm", "x", m.weight(6, 8)))
    model = m.made(m.add("Gemm", hidden, m.weight(8, 3)))
    model.graph.output.append(helper.make_tensor_value_info(hidden, FLOAT, None))
    with pytest.raises(NetspecError, match=r"has 2 outputs \(v2\.0, v1\.0\); name one by --output"):
        imported(model, tmp_path)
    assert imported(model, tmp_path, Asked(output=hidden, cost="none")).left == ("c1",)
