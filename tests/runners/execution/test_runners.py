"""Runners: the same bits however the work is spread, and one clear error when something breaks."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from chaos import chaos, failing, teams
from nets import (
    BATCH,
    NAMES,
    ONE_DEVICE,
    RATES,
    SHARD_BY_SHARD,
    TWO_TOWERS,
    batch,
    named,
    network,
    same_bits,
    train,
    trained,
)

from netspec.errors import NetspecError
from netspec.planning import build
from netspec.program import lower, memory
from netspec.runners.execution.session import Rates, Session
from netspec.runners.execution.threads import ThreadRunner
from netspec.runners.execution.trace import Trace


@pytest.fixture(scope="module")
def oracle() -> dict:
    """What the serial runner learns in three iterations."""
    return trained(network(TWO_TOWERS), runner="serial")


def test_serial_and_overlapped_give_the_same_bits(oracle: dict) -> None:
    same_bits(trained(network(TWO_TOWERS), runner="local"), oracle)


@pytest.mark.parametrize("seed", range(5))
def test_chaos_does_not_change_a_bit(oracle: dict, seed: int) -> None:
    same_bits(trained(network(TWO_TOWERS), opener=chaos(seed)), oracle)


@pytest.mark.parametrize("sizes", [(2, 1), (3, 5)])
def test_the_size_of_a_team_does_not_change_a_bit(oracle: dict, sizes: tuple[int, int]) -> None:
    same_bits(trained(network(TWO_TOWERS), opener=teams(*sizes)), oracle)


def test_both_devices_on_one_cpu_give_the_same_bits(oracle: dict) -> None:
    same_bits(trained(network(TWO_TOWERS), devices=["cpu:0", "cpu:0"]), oracle)


def test_shard_by_shard_learns_the_same_numbers_through_the_name_map(oracle: dict) -> None:
    same_bits(trained(network(SHARD_BY_SHARD), names=NAMES), oracle)


def test_one_device_with_groups_learns_the_same_function(oracle: dict) -> None:
    one = trained(network(ONE_DEVICE), devices=["cpu:0"])
    assert one.keys() == oracle.keys()
    for name in one:
        np.testing.assert_allclose(one[name], oracle[name], rtol=0, atol=2e-6, err_msg=name)


def test_weights_of_two_devices_evaluate_on_one() -> None:
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train", "eval", "predict")) as two:
        train(two)
        with Session(network(ONE_DEVICE), ["cpu:0"], phases=("train", "eval", "predict")) as one:
            one.store.load(two.store.tensors())
            np.testing.assert_allclose(one.predict(batch(9), 6), two.predict(batch(9), 6), rtol=0, atol=1e-6)
            assert one.evaluate(batch(9), 4).reports["loss"]["count"] == 4


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",)) as session:
        train(session, 2)
        before = session.store.tensors()
        poisoned = {**before, "conv1.bias": np.full_like(before["conv1.bias"], np.inf)}
        session.store.load(poisoned)
        assert not session.train(batch(), 2, BATCH, RATES).finite
        same_bits(session.store.tensors(), poisoned)


def test_momentum_and_decay_follow_the_paper() -> None:
    """v = m v - d eps w - eps g; w = w + v: a second session without momentum and decay tells g."""
    spec, rates, name = network(TWO_TOWERS), Rates(0.05, (0.9, 0.01)), "conv2.weight"
    with Session(spec, ["cpu:0", "cpu:1"], phases=("train",)) as session:
        train(session, 1)
        start = session.store.tensors()
        session.train(batch(1), 1, BATCH, Rates(1.0, (0.0, 0.0)))
        gradient = -session.store.tensor(f"{name}.momentum").astype(np.float64)
        session.store.load(start)
        session.train(batch(1), 1, BATCH, rates)
        v = 0.9 * start[f"{name}.momentum"] - 0.01 * 0.05 * start[name] - 0.05 * gradient
        np.testing.assert_allclose(session.store.tensor(f"{name}.momentum"), v, rtol=0, atol=1e-7)
        np.testing.assert_allclose(session.store.tensor(name), start[name] + v, rtol=0, atol=1e-7)
        assert np.abs(v).max() > 1e-4


def test_gradients_agree_with_differences_of_the_loss() -> None:
    """The whole two-device iteration, transfers and sums included, against numeric differentiation."""
    smooth = {"keep: 0.5": "keep: 1.0", "type: relu": "type: tanh", "mode: max": "mode: average"}
    spec = network(TWO_TOWERS, **smooth)
    with Session(spec, ["cpu:0", "cpu:1"], phases=("train", "eval")) as session:
        start = session.store.tensors()
        data = batch(4)
        session.train(data, 0, BATCH, Rates(1.0, (0.0, 0.0)))
        gradients = {name: -session.store.tensor(f"{name}.momentum") for name in start if f"{name}.momentum" in start}
        assert len(gradients) == 10
        random = np.random.default_rng(1)
        for name, gradient in gradients.items():
            direction = random.standard_normal(gradient.shape).astype(np.float32)
            losses = []
            for sign in (1, -1):
                session.store.load({**start, name: start[name] + sign * np.float32(5e-3) * direction})
                losses.append(session.evaluate(data, BATCH).reports["loss"]["loss"] / BATCH)
            numeric = (losses[0] - losses[1]) / 1e-2
            assert numeric == pytest.approx(float((gradient * direction).sum()), rel=0.02, abs=2e-4), name


def test_a_failing_step_is_one_error_that_names_it() -> None:
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], opener=failing(ValueError("boom"), "conv")) as session:
        with pytest.raises(NetspecError, match=r"step '.*@right' failed on device 'right': ValueError: boom"):
            train(session, 1)
        with pytest.raises(NetspecError, match="failed before"):
            train(session, 1)


def test_no_thread_outlives_a_session() -> None:
    before = threading.active_count()
    trained(network(TWO_TOWERS), iterations=1)
    assert threading.active_count() == before


def test_the_watchdog_names_the_step_and_the_edge() -> None:
    slow = chaos(0, longest=2.0)
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",), watchdog=0.05, opener=slow) as session:
        assert isinstance(session._runners["train"], ThreadRunner)
        with pytest.raises(NetspecError, match=r"has waited 0.05 s: '.*' needs '.*', which has not ended \(.* is in '"):
            train(session, 1)


def test_a_trace_shows_every_step_of_both_devices(tmp_path: Path) -> None:
    trace = Trace()
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",), trace=trace) as session:
        train(session, 1)
        steps = {step.name for step in session.programs["train"].steps}
    trace.write(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert {span["name"] for span in spans} == steps
    lanes = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert lanes == {"compute", "copy"}
    assert all(span["dur"] >= 0 for span in spans)


def test_reuse_saves_memory_and_in_place_layers_share_it() -> None:
    plan = build(network(TWO_TOWERS), "train", 64)
    program = lower(plan, dict.fromkeys(plan.devices, "cpu"), dict.fromkeys(plan.devices, 1), fused=False)
    for row in memory([program]).values():
        shared = sum(
            row.get(kind, 0) for kind in ("activation", "gradient", "saved", "workspace", "parameter gradient")
        )
        assert row["arena"] < shared
    relu, conv = (named(program.offsets, f"{layer}.y@left") for layer in ("relu1", "conv1"))
    assert program.inplace[relu] == conv and program.offsets[relu] == program.offsets[conv]


def test_a_layer_without_a_kernel_for_its_device_is_an_error() -> None:
    from netspec.registry import layer_types

    plan = build(network(TWO_TOWERS), "train")
    relu = layer_types()["relu"]
    kernels = relu.kernels
    try:
        relu.kernels = tuple(kernel for kernel in kernels if "cuda" not in kernel.backends)
        with pytest.raises(NetspecError, match="relu1: layer type 'relu' has no CUDA kernel"):
            lower(plan, dict.fromkeys(plan.devices, "cuda"), dict.fromkeys(plan.devices, 1))
    finally:
        relu.kernels = kernels


def test_loading_names_what_does_not_fit() -> None:
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",)) as session:
        tensors = session.store.tensors()
        wrong = {**tensors, "conv1.bias": np.zeros(3, np.float32), "conv9.weight": np.zeros(1, np.float32)}
        del wrong["fc5.bias"]
        with pytest.raises(NetspecError) as caught:
            session.store.load(wrong)
        for word in (
            "'conv1.bias' has shape (3,), the network wants (8,)",
            "'conv9.weight' is not",
            "'fc5.bias' is miss",
        ):
            assert word in str(caught.value)
        same_bits(session.store.tensors(), tensors)


def test_a_session_that_cannot_be_made_leaves_nothing_open() -> None:
    closed = []

    def opener(names):  # type: ignore[no-untyped-def]
        devices = teams(2, 2)(names)
        for device in devices:
            device.close = lambda close=device.close: (closed.append(1), close())
            device.arena = lambda nbytes: (_ for _ in ()).throw(NetspecError("no room"))
        return devices

    before = threading.active_count()
    with pytest.raises(NetspecError, match="no room"):
        Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], opener=opener)
    assert len(closed) == 2
    assert threading.active_count() == before
