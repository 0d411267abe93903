"""Elementwise layers in the step before: which are, which are not, and the same numbers to the last bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from chaos import chaos, teams
from nets import BATCH, ONE_DEVICE, RATES, TWO_TOWERS, batch, network, same_bits
from random_nets import write

from netspec.contract.naming import Argument
from netspec.kernels.epilogue import epilogue_of
from netspec.kernels.lookup import find_kernel
from netspec.kernels.specialise import prepare
from netspec.planning import build
from netspec.program import Program, lower
from netspec.program.fuse import split
from netspec.registry import load_plugin
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Session
from netspec.runners.execution.trace import Trace
from netspec.spec import load, loads
from netspec.spec.types import Spec

PLUGIN = '''
from netspec.plugin import Elementwise, number, register

@register("fusion_leaky")
class Leaky(Elementwise):
    """y = x, or slope * x below zero"""
    attrs = {"slope": number("Below zero.", default=0.1, above=0)}
    kinks = "x = 0"

    def forward(x, slope):
        return x if x > 0 else slope * x

    def backward(y, dy, slope):
        return dy if y > 0 else slope * dy

@register("fusion_cube")
class Cube(Elementwise):
    """y = x * x * x"""

    def forward(x):
        return x * x * x

    def backward(x, dy):
        return 3 * x * x * dy
'''
GATE = '''
from netspec.plugin import Layer, forward, backward, register

@register("fusion_gate")
class Gate(Layer):
    """y = x * other"""
    inputs = ("x", "other")
    inplace = True

    def outputs(self, x, other):
        return {"y": x}

    @forward("cpu", over="y", writes=("y",))
    def forward_cpu(start, stop, x, other, y):
        for i in range(start, stop):
            y[i] = x[i] * other[i]

    @backward("cpu", over="d_x", writes=("d_x", "d_other"))
    def backward_cpu(start, stop, x, other, d_y, d_x, d_other):
        for i in range(start, stop):
            d_other[i] = d_y[i] * x[i]
            d_x[i] = d_y[i] * other[i]
'''
GATED = """
    netspec: 1
    name: gated
    devices: [main]
    inputs:
      image: {shape: [9, 9, 3]}
      label: {dtype: int32}
    layers:
      - {name: conv1, type: conv, inputs: image, filters: 4, size: 3, init: {type: gaussian, std: 0.3}}
      - {name: tanh1, type: tanh}
      - {name: gate, type: fusion_gate, inputs: [tanh1, conv1]}
      - {name: fc2, type: dense, units: 5}
      - {name: loss, type: softmax_loss, inputs: [fc2, label]}
    train: {batch: 6, seed: 3}
    data: {mean: none, scale: 0.01}
"""
CHAIN = """
    netspec: 1
    name: chain
    devices: [main]
    inputs:
      image: {shape: [9, 9, 3]}
      label: {dtype: int32}
    layers:
      - {name: conv1, type: conv, inputs: image, filters: 4, size: 3, init: {type: gaussian, std: 0.3}}
      - {name: leaky1, type: fusion_leaky, slope: 0.3}
      - {name: tanh1, type: tanh}
      - {name: pool1, type: pool, mode: average, size: 3, stride: 2}
      - {name: leaky2, type: fusion_leaky}
      - {name: fc2, type: dense, units: 8}
      - {name: tanh2, type: tanh}
      - {name: drop2, type: dropout, keep: 0.7}
      - {name: fc3, type: dense, units: 5}
      - {name: loss, type: softmax_loss, inputs: [fc3, label]}
    train: {batch: 6, seed: 3}
    data: {mean: none, scale: 0.01}
"""


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> None:
    for name, text in (("leaky", PLUGIN), ("gate", GATE)):
        file = tmp_path_factory.mktemp("plugins") / f"{name}.py"
        file.write_text(text)
        load_plugin(str(file))


def program(spec: Spec, phase: Any = "train", kind: Any = "cpu", fused: bool = True) -> Program:
    plan = build(spec, phase)
    return lower(plan, dict.fromkeys(plan.devices, kind), dict.fromkeys(plan.devices, 1), fused=fused)


def fused(one: Program) -> dict[str, tuple[str, ...]]:
    return {step.name: tuple(str(key.layer) for key in step.fused) for step in one.steps if step.fused}


def unfused(spec: Spec) -> Spec:
    return replace(spec, train=replace(spec.train, fuse=False))


def learned(spec: Spec, devices: Sequence[str] = ("cpu:0", "cpu:1"), **options: Any) -> Mapping[str, Any]:
    """All tensors after two iterations, and the losses on the way."""
    shape = spec.inputs["image"].shape
    with Session(spec, devices[: len(spec.devices)], phases=("train",), batch=BATCH, **options) as session:
        outcomes = [session.train(batch(i, shape), i, BATCH, RATES) for i in range(2)]
        losses = {f"loss{i}": np.array(one.reports["loss"]["loss"]) for i, one in enumerate(outcomes)}
        return {**session.store.tensors(), **losses}


# What is fused --------------------------------------------------------------------------------------------------------


def test_alexnet_on_cpus() -> None:
    found = fused(program(load("alexnet")))
    for device in ("left", "right"):
        for number in range(1, 6):
            assert found[f"conv{number}.forward@{device}"] == (f"relu{number}",)
        for number in (6, 7):
            assert found[f"fc{number}.forward@{device}"] == (f"relu{number}",)
            assert found[f"drop{number}.backward@{device}"] == (f"relu{number}",)
        assert found[f"norm1.backward@{device}"] == ("relu1",)
        assert found[f"norm2.backward@{device}"] == ("relu2",)
        assert found[f"conv4.backward@{device}"] == ("relu3",)
        assert found[f"conv5.backward@{device}"] == ("relu4",)
        assert found[f"pool5.backward@{device}"] == ("relu5",)
    left = [name for name in (step.name for step in program(load("alexnet")).steps) if name.startswith("relu")]
    assert not left


def test_a_chain_is_fused_one_after_the_other() -> None:
    one = program(network(CHAIN), "predict")
    assert fused(one) == {
        "conv1.forward@main": ("leaky1", "tanh1"),
        "pool1.forward@main": ("leaky2",),
        "fc2.forward@main": ("tanh2", "drop2"),
    }
    names = set(map(str, one.buffers))
    assert "conv1.y@main" not in names and "tanh1.y@main" in names


def test_the_step_keeps_its_name_and_adds_up_the_work() -> None:
    plan, one = build(network(CHAIN), "train"), program(network(CHAIN))
    step = next(step for step in one.steps if step.name == "conv1.forward@main")
    parts = [step for step in plan.steps if step.name in ("conv1.forward@main", "leaky1.forward@main")]
    assert step.flops == sum(part.flops for part in parts)
    assert [tail.kernel for each in step.passes for tail in each.then] == ["fusion_leaky:forward_cpu"]


def test_split_gives_a_step_a_layer_on_the_same_buffers() -> None:
    step = next(step for step in program(network(CHAIN), "predict").steps if step.name == "fc2.forward@main")
    parts = split(step)
    assert [part.layer for part in parts] == ["fc2", "tanh2", "drop2"]
    assert all(not one.then for part in parts for one in part.passes)
    assert all(part.args == step.args for part in parts)


def test_a_part_writes_what_its_own_kernels_write() -> None:
    one = program(network(CHAIN.replace("- {name: tanh2, type: tanh}", "")))
    step = next(step for step in one.steps if "drop2" in [key.layer for key in step.fused])
    own, *others = split(step)
    assert set(own.writes) == {name for one in own.passes for name in one.writes}
    assert set(step.writes) == {*own.writes, *(name for part in others for name in part.writes)}


def test_what_a_fused_layer_reads_too_is_not_written_over() -> None:
    """y = x * tanh(x) in two layers, the second in place: the first one's input must outlast both."""
    one = program(network(GATED), "predict")
    step = next(step for step in one.steps if "gate" in [key.layer for key in step.fused])
    assert step.layer == "tanh1" and "tanh1.x@main" not in map(str, one.inplace)
    assert step.args[Argument("y")].buffer not in one.inplace
    with Session(network(GATED), ["cpu:0"], phases=("predict",), batch=BATCH) as session:
        found = session.predict(batch(1, (9, 9, 3)), BATCH)
    with Session(unfused(network(GATED)), ["cpu:0"], phases=("predict",), batch=BATCH) as session:
        np.testing.assert_array_equal(found, session.predict(batch(1, (9, 9, 3)), BATCH))


# What is not ----------------------------------------------------------------------------------------------------------


CROSSED = """
    netspec: 1
    name: crossed
    devices: [left, right]
    inputs:
      image: {shape: [9, 9, 3]}
      label: {dtype: int32}
    layers:
      - {name: a, type: conv, device: left, inputs: image, filters: 4, size: 3}
      - {name: c, type: conv, inputs: image, filters: 4, size: 3}
      - {name: b, type: relu, inputs: a}
      - {name: d, type: concat, device: right, inputs: [{from: b, connect: all}, {from: c, connect: all}]}
      - {name: e, type: dense, units: 5}
      - {name: loss, type: softmax_loss, inputs: [e, label]}
    train: {batch: 6, seed: 3}
    data: {mean: none, scale: 0.01}
"""
HEAD, LOSS = CHAIN.partition("    layers:\n")[0] + "    layers:\n", CHAIN[CHAIN.index("      - {name: fc3") :]
CONV = "      - {name: a, type: conv, inputs: image, filters: 4, size: 3}\n"


def layers(*lines: str) -> Spec:
    """A network of a convolution ``a``, these layers and a loss."""
    return network(HEAD + CONV + "".join(f"      - {{{line}}}\n" for line in lines) + LOSS)


@pytest.mark.parametrize(
    "lines",
    [
        ("name: b, type: relu", "name: c, type: sum, inputs: [a, b]"),  # the sum reads a too
        ("name: b, type: relu", "name: c, type: tanh, inputs: a", "name: d, type: concat, inputs: [b, c]"),
        ("name: b, type: fusion_cube",),  # backward reads x: not in place
        ("name: f, type: flatten", "name: d, type: dense, units: 6, bias: false", "name: b, type: relu"),  # by units
    ],
)
def test_what_others_need_and_what_is_not_in_rows_stays(lines: Sequence[str]) -> None:
    one = program(layers(*lines))
    assert not [name for name in fused(one) if ".forward" in name]
    assert any(step.name == "b.forward@main" for step in one.steps)


def test_a_result_that_backward_needs_is_written_in_training_only() -> None:
    spec = layers("name: b, type: tanh", "name: c, type: relu")
    assert fused(program(spec))["a.forward@main"] == ("b",)
    assert fused(program(spec, "predict"))["a.forward@main"] == ("b", "c")


def test_what_is_read_on_another_device_stays() -> None:
    joined = "name: relu4, type: relu, device: left, inputs: {from: fc4, connect: all}"
    spec = network(TWO_TOWERS, **{"name: relu4, type: relu": joined})
    assert "fc4.forward@left" not in fused(program(spec))


def test_small_tensors_in_many_blocks_stay_in_cache_anyway() -> None:
    assert "conv1.forward@main" in fused(program(network(CHAIN, **{"batch: 6": "batch: 16"})))
    assert "conv1.forward@main" not in fused(program(network(CHAIN, **{"batch: 6": "batch: 17"})))


def test_a_program_without_fusion_has_none() -> None:
    assert not fused(program(load("alexnet"), fused=False))


# Waits ----------------------------------------------------------------------------------------------------------------


def test_who_waited_for_a_fused_step_still_waits_for_what_ran_before_it() -> None:
    """c runs between a and b: who waits for b relied on c too, and b now runs before c."""
    spec = network(CROSSED)
    one = program(spec)
    assert fused(one)["a.forward@left"] == ("b",)
    fetch = next(step for step in one.steps if step.op == "copy" and step.device == "right")
    assert "c.forward@left" in map(str, fetch.after)
    same_bits(learned(spec, opener=chaos(2, 0.002)), learned(unfused(spec), runner="serial"))


# Numbers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_random_networks_learn_the_same_bits(seed: int) -> None:
    for text in write(100 + seed):
        spec = loads(text, "random.yaml")
        same_bits(learned(spec), learned(unfused(spec)))


@pytest.mark.parametrize("text", [TWO_TOWERS, ONE_DEVICE, CHAIN])
def test_serial_or_overlapped_on_any_team_the_same_bits(text: str) -> None:
    spec = network(text)
    oracle = learned(unfused(spec), runner="serial")
    same_bits(learned(spec, runner="serial"), oracle)
    same_bits(learned(spec, opener=chaos(1, 0.001)), oracle)
    same_bits(learned(spec, opener=teams(*(3, 2)[: len(spec.devices)])), oracle)


def test_dropout_draws_the_same_in_another_step() -> None:
    spec = layers("name: b, type: dropout, keep: 0.6", "name: d, type: dense, units: 7", "name: c, type: dropout")
    assert {"a.forward@main", "d.forward@main"} <= set(fused(program(spec)))
    same_bits(learned(spec), learned(unfused(spec)))


@pytest.mark.parametrize("name", ["quickstart", "cifar10-quick"])
def test_shipped_networks_learn_the_same_bits(name: str) -> None:
    spec = load(name)
    assert fused(program(spec))
    same_bits(learned(spec), learned(unfused(spec)))


def test_prediction_gives_the_same_bits() -> None:
    found = []
    for spec in (network(CHAIN), unfused(network(CHAIN))):
        with Session(spec, ["cpu:0"], phases=("predict",), batch=BATCH) as session:
            found.append(session.predict(batch(), BATCH))
    np.testing.assert_array_equal(*found)


# GPUs; the numbers are compared in tests/emulate/ ---------------------------------------------------------------------


def test_alexnet_on_gpus() -> None:
    found = fused(program(load("alexnet"), kind="cuda"))
    for layer in (*(f"conv{number}" for number in range(1, 6)), "fc6", "fc7"):
        assert found[f"{layer}.forward@left"] == found[f"{layer}.forward@right"] == (f"relu{layer[-1]}",)


def test_a_kernel_says_by_itself_whether_it_stores_through_an_epilogue() -> None:
    assert find_kernel("conv:forward_cuda").has_epilogue  # in a helper
    assert not find_kernel("conv:d_bias_sum_cuda").has_epilogue


def test_attributes_are_part_of_what_is_compiled() -> None:
    pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    function = find_kernel("conv:forward_cuda").function
    tails = [None, {"slope": 1}, {"slope": 1.0}, {"slope": 2.0}]
    chains = [epilogue_of([] if each is None else [("fusion_leaky:forward_cuda", each)]) for each in tails]
    assert len({prepare(function, "float32", chain).digest for chain in chains}) == len(tails)
    assert epilogue_of([("fusion_leaky:forward_cuda", {"slope": 2.0})]) is chains[-1]


# What people see ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "layer"), [("slope: 0.3", "slope: 3.0e+38", "leaky1"), ("std: 0.3", "std: 5.0e+37", "conv1")]
)
def test_the_layer_that_gave_a_bad_number_is_named_in_a_fused_step_too(old: str, new: str, layer: str) -> None:
    spec = network(CHAIN, **{old: new})
    with Session(spec, ["cpu:0"], phases=("train",), batch=BATCH) as session:
        assert "leaky1" in fused(session.programs["train"])["conv1.forward@main"]
        said = explain(session, batch(), 0, BATCH, RATES)
    assert said == f"the first numbers that are not finite come from the forward pass of '{layer}' on main"


def test_a_trace_lists_the_layers_of_a_step() -> None:
    trace = Trace()
    with Session(network(CHAIN), ["cpu:0"], phases=("predict",), batch=BATCH, trace=trace) as session:
        session.predict(batch(), BATCH)
    found = {event["name"]: event["args"].get("fused") for event in trace.events()}
    assert found["fc2.forward@main"] == ["tanh2", "drop2"] and found["loss.forward@main"] is None
