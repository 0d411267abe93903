"""A two-device network trained on simulated GPUs, against CPUs: plan, program, store, runners and kernels together."""

from __future__ import annotations

import numpy as np
import pytest
from nets import RATES, batch, network

from netspec.runners.execution.session import Session

TOWERS = """
    netspec: 1
    name: towers
    devices: [left, right]
    inputs:
      image: {shape: [5, 5, 3]}
      label: {dtype: int32}
    defaults:
      conv: {init: {type: gaussian, std: 0.1}, bias_init: 0.1}
    layers:
      - {name: conv1, type: conv, device: [left, right], inputs: image, filters: 4, size: 3, stride: 2}
      - {name: relu1, type: relu}
      - {name: conv2, type: conv, filters: 6, size: 1, inputs: {from: relu1, connect: all}}
      - {name: fc3, type: dense, device: left, units: 5, inputs: {from: conv2, connect: all}}
      - {name: loss, type: softmax_loss, inputs: [fc3, label]}
    train: {batch: 2, seed: 3, cuda: {precision: float32}}
    data: {mean: none, scale: 0.01}
"""


def _trained(devices, runner):
    with Session(network(TOWERS), [devices], runner=runner, phases=("train",)) as session:
        session.stage(batch(0, (5, 5, 3), 2))
        for iteration in range(2):
            session.start(iteration, 2, RATES)
            if session.ahead or not iteration:
                session.stage(batch(iteration + 1, (5, 5, 3), 2))
            outcome = session.finish()
            assert outcome.finite
        assert session.captured() == session.ahead == (runner == "local")
        return {**session.store.tensors(), **{key: np.array(value) for key, value in outcome.reports["loss"].items()}}


@pytest.mark.parametrize(("devices", "runner"), [("cuda:0,cuda:1", "local"), ("cuda:0,cuda:0", "serial")])
def test_an_iteration_on_gpus_is_an_iteration_on_cpus(devices, runner):
    expected, got = _trained("cpu:0,cpu:1", "serial"), _trained(devices, runner)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-5 * max(1, np.abs(value).max()), err_msg=name)
