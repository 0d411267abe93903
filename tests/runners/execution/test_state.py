"""State: renewed in training, on any number of devices; read in evaluation; untouched by a step that is not finite."""

from __future__ import annotations

import re

import numpy as np
import pytest
from chaos import chaos, teams
from nets import BATCH, ONE_DEVICE, RATES, TWO_TOWERS, batch, named, network, same_bits, train, trained
from places import PLUGINS

from netspec.planning import BufferKey
from netspec.registry import load_plugin
from netspec.runners.execution.bound import BoundStep
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Session
from netspec.spec.types import Spec

PLUGIN = PLUGINS / "centred.py"
MEAN = "relu1.mean"


def centred(text: str) -> Spec:
    load_plugin(PLUGIN)
    return network(text, **{"name: relu1, type: relu": "name: relu1, type: centred, keep: 0.25"})


@pytest.fixture(scope="module")
def oracle() -> dict:
    return trained(centred(TWO_TOWERS), runner="serial")


def test_the_running_mean_is_that_of_the_batches() -> None:
    """conv1 is frozen, so that its output can be had from a network that ends behind it."""
    spec = centred(ONE_DEVICE.replace("name: conv1,", "name: conv1, rate: 0,"))
    expected = np.zeros(8)
    with Session(spec, ["cpu:0"], phases=("train",)) as session:
        bound = session.bound("train")
        step = next(one for one in bound.steps if one.step.name.startswith("relu1.forward"))
        for iteration in range(3):
            session.train(batch(iteration), iteration, BATCH, RATES)
            bound.fill(batch(iteration), (iteration, BATCH), session.rates(RATES))
            for one in bound.steps[: bound.steps.index(step)]:
                one.call()
            expected = 0.25 * expected + 0.75 * bound.download(named(bound.arrays, "conv1.y@main")).mean((0, 1, 2))
        np.testing.assert_allclose(session.store.tensor(MEAN), expected, rtol=0, atol=1e-6)
    assert np.abs(expected).max() > 1e-3


def test_the_same_bits_overlapped_in_chaos_and_in_teams(oracle: dict) -> None:
    for options in ({}, {"opener": chaos(1)}, {"opener": teams(2, 3)}, {"devices": ["cpu:0", "cpu:0"]}):
        same_bits(trained(centred(TWO_TOWERS), **options), oracle)


def test_the_same_function_on_one_device(oracle: dict) -> None:
    one = trained(centred(ONE_DEVICE), devices=["cpu:0"])
    assert one.keys() == oracle.keys() and one[MEAN].shape == (8,)
    for name in one:
        np.testing.assert_allclose(one[name], oracle[name], rtol=0, atol=2e-6, err_msg=name)


def test_evaluation_reads_it_and_a_step_that_is_not_finite_leaves_it() -> None:
    with Session(centred(TWO_TOWERS), ["cpu:0", "cpu:1"]) as session:
        train(session, 2)
        before = session.store.tensors()
        plain = session.evaluate(batch(5), BATCH).reports["loss"]["loss"]
        same_bits(session.store.tensors(), before)
        session.store.load({**before, MEAN: before[MEAN] + 1})
        assert session.evaluate(batch(5), BATCH).reports["loss"]["loss"] != plain
        poisoned = {**before, "fc5.bias": np.full_like(before["fc5.bias"], np.inf)}
        session.store.load(poisoned)
        assert not session.train(batch(3), 2, BATCH, RATES).finite
        same_bits(session.store.tensors(), poisoned)


def test_a_next_state_that_is_not_finite_is_not_taken() -> None:
    """Squares of 1e20 overflow, while the loss and all gradients are finite: the step changes nothing all the same."""
    load_plugin(PLUGINS / "energy.py")
    norm1 = "name: norm1, type: lrn, size: 3, alpha: 0.5, beta: 0.75, k: 2.0"
    changes = {norm1: "name: norm1, type: energy", "scale: 0.01": "scale: 1.0e+18"}
    with Session(network(TWO_TOWERS, **changes), ["cpu:0", "cpu:1"], phases=("train",)) as session:
        before = session.store.tensors()
        outcome = session.train(batch(), 0, BATCH, RATES)
        assert np.isfinite(outcome.reports["loss"]["loss"]) and not outcome.finite
        same_bits(session.store.tensors(), before)
        told = explain(session, batch(), 0, BATCH, RATES)
    assert re.fullmatch(
        "the first numbers that are not finite come from the forward pass of 'norm1' on (left|right)", told
    )


def test_layers_that_share_state_renew_it_in_turn() -> None:
    """As though one layer were applied twice: the second reads what the first made of it, and its value is kept."""
    twice = "name: relu1, type: centred, keep: 0.25}\n  - {name: again, type: centred, keep: 0.25, share: relu1"
    load_plugin(PLUGIN)
    shared = network(TWO_TOWERS, **{"name: relu1, type: relu": twice})
    names = ("conv1.y@left", "again.y@left", "relu1.y@left")
    with Session(shared, ["cpu:0", "cpu:1"], phases=("train",), runner="serial") as session:
        values = {}
        conv, again, relu = (named(session.programs["train"].buffers, name) for name in names)
        for one in session.bound("train").steps:
            _watch(session, one, (conv, again, relu), values)
        expected = np.zeros(4)
        for iteration in range(3):
            session.train(batch(iteration), iteration, BATCH, RATES)
            for x, y in ((conv, relu), (relu, again)):
                np.testing.assert_allclose(values[y], values[x] - expected, rtol=0, atol=1e-6)
                expected = 0.25 * expected + 0.75 * values[x].mean((0, 1, 2))
            np.testing.assert_allclose(session.store.tensor(MEAN)[:4], expected, rtol=0, atol=1e-6)
    assert np.abs(expected).max() > 1e-3
    oracle = trained(shared, runner="serial")
    for options in ({}, {"opener": chaos(2)}):
        same_bits(trained(shared, **options), oracle)


def _watch(session: Session, one: BoundStep, keys: tuple[BufferKey, ...], values: dict) -> None:
    """Note what a step has written, before its memory is used again."""
    runner, call, step = session._runners["train"], one.call, one.step
    written = [step.args[argument].buffer for argument in step.writes if step.args[argument].buffer in keys]

    def watched() -> None:
        call()
        for key in written:
            values[key] = session.bound("train").download(key)

    places = [index for index, (other, _, _) in enumerate(runner._work) if other is step]
    for index in places:
        runner._work[index] = (step, watched, runner._work[index][2])
