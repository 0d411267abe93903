"""A step that is not finite: the replay names the layer, the direction and the device where it began, in a deep net."""

from __future__ import annotations

import re

import numpy as np
import pytest
from nets import BATCH, RATES, TWO_TOWERS, batch, network, same_bits, train

from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Session

FIRST = "the first numbers that are not finite come from the {0} pass of '{1}' on {2}"
HUGE = np.float32(3e38)


def half_huge(shape: tuple[int, ...]) -> np.ndarray:
    """A tensor that is huge in the right device's half of its last axis, and 0.01 elsewhere."""
    tensor = np.full(shape, 0.01, np.float32)
    tensor[..., shape[-1] // 2 :] = HUGE
    return tensor


def whole(value: float):
    return lambda shape: np.full(shape, value, np.float32)


def varied(size: float):
    return lambda shape: np.random.default_rng(0).uniform(-size, size, shape).astype(np.float32)


SMALL = {"conv3.weight": whole(0), "conv3.bias": whole(1e-6), "fc4.bias": whole(0)}
"""What fc4 reads is 1e-6 everywhere."""
SMALLER = {
    "conv2.weight": whole(0), "conv2.bias": whole(1e-16), "conv3.bias": whole(0),
    "fc4.weight": whole(1e-10), "fc4.bias": whole(0), "fc5.weight": varied(1e22),
}  # fmt: skip
"""What conv3 reads is 1e-16 everywhere."""
CASES = {
    "forward in conv": ({"conv2.weight": half_huge}, FIRST.format("forward", "conv2", "right")),
    "forward in the first conv": ({"conv1.weight": half_huge}, FIRST.format("forward", "conv1", "right")),
    "forward in dense": (
        {"conv3.bias": whole(10), "fc4.weight": half_huge}, FIRST.format("forward", "fc4", "right")
    ),
    "forward on one device alone": (
        {"fc4.bias": whole(10), "fc5.weight": varied(HUGE)}, FIRST.format("forward", "fc5", "left")
    ),
    "backward in dense": (
        {**SMALL, "fc4.weight": whole(1e25), "fc5.weight": varied(1e15)},
        FIRST.format("backward", "fc4", "(left|right)"),
    ),
    "backward in conv": (
        {**SMALLER, "conv3.weight": whole(1e28)}, FIRST.format("backward", "conv3", "(left|right)")
    ),
    "in a sum of two devices' gradients": (
        {**SMALLER, "conv3.weight": whole(1e25)},
        FIRST.partition(" pass")[0].format("backward") + " pass, in the sum of gradients of 'relu2' on (left|right)",
    ),
    "before the step": ({"conv3.bias": whole(np.nan)}, "'conv3.bias@(left|right)' was not finite before the step"),
}  # fmt: skip


@pytest.mark.parametrize("runner", ["serial", "local"])
@pytest.mark.parametrize(("tensors", "said"), CASES.values(), ids=CASES)
def test_it_names_the_place(tensors, said, runner):
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",), runner=runner) as session:
        train(session, 1)
        changed = session.store.tensors()
        changed.update({name: make(changed[name].shape) for name, make in tensors.items()})
        session.store.load(changed)
        assert not session.train(batch(1), 1, BATCH, RATES).finite
        same_bits(session.store.tensors(), changed)
        found = explain(session, batch(1), 1, BATCH, RATES)
        same_bits(session.store.tensors(), changed)
        assert re.fullmatch(said, found), found
