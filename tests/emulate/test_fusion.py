"""Backward passes of elementwise layers as the epilogue of a convolution's: fewer launches, the same bits."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
from nets import RATES, batch, network, same_bits

from netspec.contract.kernel import BESIDE
from netspec.device.emulated.device import EmulatedCuda
from netspec.device.gpus import finds_compiler
from netspec.kernels import numba_cuda
from netspec.program.fuse import split
from netspec.runners.execution.session import Session

pytestmark = [
    pytest.mark.skipif(not finds_compiler(), reason="the CUDA compiler is not installed: pip install 'netspec[gates]'"),
    pytest.mark.skipif(numba_cuda.SIMULATOR, reason="kernels are simulated"),
]
NET = """
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


def trained(fuse):
    spec = network(NET)
    spec = replace(spec, train=replace(spec.train, fuse=fuse))
    card = EmulatedCuda()
    with Session(spec, ["cpu"], runner="serial", phases=("train",), opener=lambda _: [card]) as session:
        outcome = session.train(batch(0, (5, 5, 4), 2), 0, 2, RATES)
        found = {**session.store.tensors(), "loss": np.array(outcome.reports["loss"]["loss"])}
        return found, card.launches, {step.name: step for step in session.programs["train"].steps}


def test_gradients_through_an_epilogue_have_the_same_bits():
    fused, launches, steps = trained(True)
    apart, more, _ = trained(False)
    same_bits(fused, apart)
    assert launches <= more - 4
    (name,) = (name for name in steps if name.startswith("conv2.backward"))
    assert steps[name].attrs["fused"] == ("relu1",)
    (one,) = (one for one in steps[name].passes if one.then)
    assert dict(one.args)[BESIDE] == "relu1.y" and one.writes == ("d_x",)
    plain = split(steps[name])[0]
    assert {dict(each.args).get(BESIDE, "d_x") for each in plain.passes} == {"d_x"}
