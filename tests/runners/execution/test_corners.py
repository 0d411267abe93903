"""Networks of unusual shape: read twice, shared, frozen, with two costs, with a cost alone on its device."""

from __future__ import annotations

import numpy as np
import pytest
from nets import BATCH, RATES, batch, network

from netspec.planning import build
from netspec.planning.identities import of_device, of_layer
from netspec.runners.execution.session import Rates, Session
from netspec.spec.types import Spec

SIDE = (5, 5, 3)


def net(*layers: str, devices: str = "main") -> Spec:
    """A small smooth network of these layers."""
    head = f"""
    netspec: 1
    devices: [{devices}]
    inputs:
      image: {{shape: [5, 5, 3]}}
      label: {{dtype: int32}}
    defaults:
      conv: {{init: {{type: gaussian, std: 0.2}}}}
      dense: {{init: {{type: gaussian, std: 0.2}}}}
    train: {{batch: {BATCH}, seed: 5}}
    data: {{mean: none, scale: 0.01}}
    layers:
"""
    return network(head + "".join(f"      - {{{layer}}}\n" for layer in layers))


START = ("name: first, type: conv, filters: 4, size: 3, pad: 1", "name: a, type: tanh")
END = ("name: fc, type: dense, units: 5", "name: loss, type: softmax_loss, inputs: [fc, label]")
TWICE = {
    "dense": ("name: fc, type: dense, units: 5, inputs: [a, a]", END[1]),
    "in groups": ("name: b, type: conv, filters: 6, size: 1, groups: 2, inputs: [a, a]", *END),
    "sum": ("name: b, type: sum, inputs: [a, a]", *END),
    "concat": ("name: b, type: concat, inputs: [a, a]", *END),
    "two costs": (*END, "name: other, type: softmax_loss, weight: 0.5, inputs: [fc, label]"),
    "shared": ("name: b, type: conv, filters: 4, size: 3, pad: 1", "name: c, type: conv, filters: 4, size: 3, pad: 1, "
               "share: b", *END),
}  # fmt: skip


@pytest.mark.parametrize("tail", TWICE.values(), ids=TWICE)
def test_gradients_of_what_is_read_twice_agree_with_differences(tail: tuple[str, ...]) -> None:
    check_gradient(net(*START, *tail), "b.weight" if "share: b" in str(tail) else "first.weight")


def test_what_crosses_twice_has_both_gradients() -> None:
    """A join that holds the other device's part two times."""
    first = "name: first, type: conv, device: [left, right], filters: 4, size: 3"
    twice = "name: fc, type: dense, device: left, units: 5, inputs: [{from: a, connect: all}, {from: a, connect: all}]"
    check_gradient(net(first, START[1], twice, END[1], devices="left, right"), "first.weight")


def check_gradient(spec: Spec, name: str) -> None:
    """Compare a parameter's gradient along a random direction with the difference of the loss."""
    with Session(spec, [f"cpu:{i}" for i, _ in enumerate(spec.devices)]) as session:
        start, data = session.store.tensors(), batch(4, SIDE)
        assert session.train(data, 0, BATCH, Rates(1.0, (0.0, 0.0))).finite
        gradient = -session.store.tensor(f"{name}.momentum")
        direction = np.random.default_rng(1).standard_normal(gradient.shape).astype(np.float32)
        losses = []
        for sign in (1, -1):
            session.store.load({**start, name: start[name] + sign * np.float32(5e-3) * direction})
            reports = session.evaluate(data, BATCH).reports.values()
            losses.append(sum(report["weight"] * report["loss"] / BATCH for report in reports))
    assert (losses[0] - losses[1]) / 1e-2 == pytest.approx(float((gradient * direction).sum()), rel=0.01, abs=1e-3)


@pytest.mark.parametrize("place", ["before", "after"])
def test_predictions_are_the_last_cost_s_and_outlive_what_comes_after_them(place: str) -> None:
    """An auxiliary classifier before the end is not what predict gives; nothing may be written over what it gives."""
    head = ("name: b, type: tanh, inputs: a", "name: fd, type: dense, units: 5")
    other = "name: other, type: softmax_loss, inputs: [fd, label]"
    fc = END[0] + ", inputs: a"
    heads = (*head, other, fc, END[1]) if place == "before" else (*END, *head)
    with Session(net(*START, *END), ["cpu:0"], phases=("predict",)) as one:
        expected, tensors = one.predict(batch(0, SIDE), BATCH), one.store.tensors()
    with Session(net(*START, *heads), ["cpu:0"], phases=("predict",)) as two:
        two.store.load(tensors, strict=False)
        np.testing.assert_array_equal(two.predict(batch(0, SIDE), BATCH), expected)


def test_a_cost_alone_on_its_device_knows_the_verdict_of_the_others() -> None:
    there = "name: loss, type: softmax_loss, device: right, inputs: [{from: fc, connect: all}, label]"
    spec = net(f"{START[0]}, device: left", START[1], END[0], there, devices="left, right")
    accesses = [access for step in build(spec).steps for access in step.accesses]
    verdict = of_device("finite", "verdict", "right")
    written = [region for region, writes in accesses if writes and region.buffer == verdict]
    assert {(region.start, region.stop) for region in written} == {(0, 1), (1, 2)}
    with Session(spec, ["cpu:0", "cpu:1"], phases=("train",)) as session:
        session.bound("train").arrays[verdict][0] = 0  # the other's, which is not its own to keep
        assert session.train(batch(0, SIDE), 0, BATCH, RATES).finite


def test_frozen_parameters_have_neither_gradient_nor_momentum() -> None:
    plan = build(net(f"{START[0]}, rate: 0", START[1], *END), "train")
    learning = ("gradient", "parameter gradient", "solver state")
    assert not [key for key in plan.buffers if key.of.layer in ("first", "a") and key.role in learning]
    assert not [step.name for step in plan.steps if step.layer in ("first", "a") and step.op != "forward"]


def test_the_owner_of_shared_parameters_freezes_them_for_all() -> None:
    spec = "name: c, type: conv, filters: 4, size: 3, pad: 1, share: b"
    plan = build(net(*START, "name: b, type: conv, filters: 4, size: 3, pad: 1, rate: 0", spec, *END), "train")
    weights = [key for key in plan.buffers if key.of.layer in ("b", "c") and key.of.tensor == "weight"]
    assert [key.role for key in weights] == ["parameter"]
    assert of_layer("c", "x", "gradient", "main") in plan.buffers
