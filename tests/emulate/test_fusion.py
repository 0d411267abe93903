"""Elementwise layers as the epilogue of the kernel before, forwards and backwards: fewer launches, the same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compiled import cards, needs_compiler
from nets import RATES, batch, network, same_bits
from places import ROOT

from netspec.contract.kernel import RESIDUAL
from netspec.contract.naming import Argument
from netspec.program.fuse import D_X, split
from netspec.registry import load_plugin
from netspec.runners.execution.session import Session

pytestmark = needs_compiler
PLUGIN = '''
from netspec.plugin import Elementwise, integer, number, register

@register("emulated_leaky")
class Leaky(Elementwise):
    """y = x, or slope * x / times below zero"""
    attrs = {"slope": number("Below zero.", default=0.1), "times": integer("Divisor.", default=3)}

    def forward(slope, x, times):
        return x if x > 0 else slope * x / times

    def backward(y, dy, slope, times):
        return dy if y > 0 else slope * dy / times
'''
ONE = """
    netspec: 1
    name: net
    inputs:
      image: {shape: [5, 5, 4]}
      label: {dtype: int32}
    layers:
      - {name: conv1, type: conv, inputs: image, filters: 8, size: 3, bias_init: 0.1}
      - {name: relu1, type: relu}
      - {name: conv2, type: conv, filters: 6, size: 2, stride: 2, pad: 1}
      - {name: tanh2, type: tanh}
      - {name: fc3, type: dense, units: 5}
      - {name: loss, type: softmax_loss, inputs: [fc3, label]}
    train: {batch: 2, seed: 3}
    data: {mean: none, scale: 0.01}
"""
TWO = """
    netspec: 1
    name: net
    devices: [left, right]
    inputs:
      image: {shape: [5, 5, 3]}
      label: {dtype: int32}
    layers:
      - {name: conv1, type: conv, device: [left, right], inputs: image, filters: 4, size: 3, bias_init: 0.1}
      - {name: leaky1, type: emulated_leaky, slope: 0.3}
      - {name: relu1, type: relu}
      - {name: conv2, type: conv, filters: 6, size: 1, bias: false, inputs: {from: relu1, connect: all}}
      - {name: tanh2, type: tanh}
      - {name: fc3, type: dense, device: left, units: 5, inputs: {from: tanh2, connect: all}}
      - {name: leaky3, type: emulated_leaky}
      - {name: loss, type: softmax_loss, inputs: [leaky3, label]}
    train: {batch: 2, seed: 3}
    data: {mean: none, scale: 0.01}
"""


PRODUCTS = """
    netspec: 1
    name: net
    inputs:
      image: {shape: [2, 2, 4]}
      label: {dtype: int32}
    layers:
      - {name: first, type: my_gelu_dense, inputs: image, units: 24}
      - {name: second, type: my_gelu_dense, units: 16}
      - {name: last, type: dense, units: 5}
      - {name: loss, type: softmax_loss, inputs: [last, label]}
    train: {batch: 6, seed: 3}
    data: {mean: none, scale: 0.01}
"""


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory):
    file = tmp_path_factory.mktemp("plugins") / "leaky.py"
    file.write_text(PLUGIN)
    load_plugin(file)
    load_plugin(ROOT / "docs" / "examples" / "layers" / "my_gelu_dense.py")


def trained(text, fuse, precision="tf32"):
    """Tensors and results after an iteration, how many kernels were launched, and the programs."""
    spec, used = network(text), []
    spec = replace(spec, train=replace(spec.train, fuse=fuse, precision=precision))
    valid = spec.train.batch
    arrays = batch(0, spec.inputs["image"].shape, valid)

    def opener(names):
        used.extend((card, card.launches) for card in cards(names))
        return [card for card, _ in used]

    with Session(spec, ["cpu"], runner="serial", phases=("train", "predict"), opener=opener) as session:
        outcome = session.train(arrays, 0, valid, RATES)
        found = {**session.store.tensors(), "loss": np.array(outcome.reports["loss"]["loss"])}
        found["probs"] = session.predict({"image": arrays["image"]}, valid)
        return found, sum(card.launches - before for card, before in used), session.programs


def test_gradients_through_an_epilogue_have_the_same_bits():
    fused, launches, programs = trained(ONE, True)
    apart, more, _ = trained(ONE, False)
    same_bits(fused, apart)
    assert launches <= more - 4
    steps = {step.name: step for step in programs["train"].steps}
    (name,) = (name for name in steps if name.startswith("conv2.backward"))
    assert [key.layer for key in steps[name].fused] == ["relu1"]
    (one,) = (one for one in steps[name].passes if one.then)
    assert dict(one.args)[RESIDUAL] == Argument("y", layer="relu1") and one.writes == (D_X,)
    plain = split(steps[name])[0]
    assert {dict(each.args).get(RESIDUAL, D_X) for each in plain.passes} == {D_X}


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_derivative_of_an_epilogue_is_in_the_product_that_gives_its_gradient(precision):
    fused, launches, programs = trained(PRODUCTS, True, precision)
    apart, more, _ = trained(PRODUCTS, False, precision)
    bound = 2e-2 if precision == "bf16" else 1e-6
    assert {name for name, wanted in apart.items() if np.abs(fused[name] - wanted).max() > bound} == set()
    assert launches <= more - 2
    steps = {step.name: step for step in programs["train"].steps}
    for layer, host in (("first", "second"), ("second", "last")):
        ends = [one for one in steps[f"{host}.backward@main"].passes if one.then]
        assert [one.then[0].kernel for one in ends] == ["my_gelu_dense:y_d_gelu_cuda"]
        assert dict(ends[0].args)[RESIDUAL] == Argument("u", layer=layer)
        assert not [one for one in steps[f"{layer}.backward@main"].passes if "d_gelu" in one.kernel]


def test_activations_of_bfloat16_are_fused_too():
    """What is fused is the same; ReLU has the same bits, since rounding before it is rounding after it."""
    text = ONE.replace("tanh2, type: tanh", "tanh2, type: relu")
    fused, launches, programs = trained(text, True, "bf16")
    apart, more, _ = trained(text, False, "bf16")
    same_bits(fused, apart)
    assert launches <= more - 4
    for phase in ("train", "predict"):
        stored = {one.dtype for one in programs[phase].buffers.values() if one.role == "activation"}
        steps = {step.name: [key.layer for key in step.fused] for step in programs[phase].steps}
        assert stored == {"bfloat16", "float32"}  # the answer is float32
        assert (steps["conv1.forward@main"], steps["conv2.forward@main"]) == (["relu1"], ["tanh2"])


def test_layers_of_two_devices_have_the_same_bits():
    fused, launches, programs = trained(TWO, True)
    apart, more, _ = trained(TWO, False)
    same_bits(fused, apart)
    assert launches < more
    steps = {step.name: tuple(key.layer for key in step.fused) for step in programs["predict"].steps}
    assert steps["conv1.forward@left"] == ("leaky1", "relu1")
    assert steps["conv2.forward@right"] == ("tanh2",)
    assert steps["fc3.forward@left"] == ("leaky3",)
