"""Elementwise layers as the epilogue of the kernel before, in the simulator: the same bits as one after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nets import RATES, batch, network, same_bits

from netspec.registry import load_plugin
from netspec.runners.execution.session import Session

PLUGIN = '''
from netspec.plugin import Elementwise, integer, number, register

@register("simulated_leaky")
class Leaky(Elementwise):
    """y = x, or slope * x / times below zero"""
    attrs = {"slope": number("Below zero.", default=0.1), "times": integer("Divisor.", default=3)}

    def forward(slope, x, times):
        return x if x > 0 else slope * x / times

    def backward(y, dy, slope, times):
        return dy if y > 0 else slope * dy / times
'''
NET = """
    netspec: 1
    name: net
    devices: [left, right]
    inputs:
      image: {shape: [5, 5, 3]}
      label: {dtype: int32}
    layers:
      - {name: conv1, type: conv, device: [left, right], inputs: image, filters: 4, size: 3, bias_init: 0.1}
      - {name: leaky1, type: simulated_leaky, slope: 0.3}
      - {name: relu1, type: relu}
      - {name: conv2, type: conv, filters: 6, size: 1, bias: false, inputs: {from: relu1, connect: all}}
      - {name: tanh2, type: tanh}
      - {name: fc3, type: dense, device: left, units: 5, inputs: {from: tanh2, connect: all}}
      - {name: leaky3, type: simulated_leaky}
      - {name: loss, type: softmax_loss, inputs: [leaky3, label]}
    train: {batch: 2, seed: 3}
    data: {mean: none, scale: 0.01}
"""


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory):
    file = tmp_path_factory.mktemp("plugins") / "leaky.py"
    file.write_text(PLUGIN)
    load_plugin(str(file))


def _run(fuse: bool) -> tuple[dict, dict]:
    spec = network(NET)
    spec = replace(spec, train=replace(spec.train, fuse=fuse))
    arrays = batch(0, (5, 5, 3), 2)
    with Session(spec, ["cuda:0", "cuda:1"], runner="serial", phases=("train", "predict")) as session:
        outcome = session.train(arrays, 0, 2, RATES)
        found = {**session.store.tensors(), "loss": np.array(outcome.reports["loss"]["loss"])}
        found["probs"] = session.predict({"image": arrays["image"]}, 2)
        steps = {step.name: step.attrs.get("fused", ()) for step in session.programs["predict"].steps}
        return found, steps


def test_epilogues_give_the_same_bits() -> None:
    fused, steps = _run(True)
    apart, _ = _run(False)
    same_bits(fused, apart)
    assert steps["conv1.forward@left"] == ("leaky1", "relu1")
    assert steps["conv2.forward@right"] == ("tanh2",)
    assert steps["fc3.forward@left"] == ("leaky3",)
