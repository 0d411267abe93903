"""Checks and updates of many tensors in one launch each: which are merged, and the same numbers to the last bit."""

from __future__ import annotations

import textwrap
from dataclasses import replace

import pytest
from compiled import cards, needs_compiler
from nets import BATCH, ONE_DEVICE, TWO_TOWERS, batch, network, same_bits, shortened

from netspec.contract.naming import Argument
from netspec.kernels.lookup import find_kernel
from netspec.planning import build
from netspec.program import lower
from netspec.program.multi_tensor_steps import PARAMETER_BYTES, merge
from netspec.program.steps import Lowering
from netspec.runners.execution.session import Rates, Session
from netspec.solvers import make_solver
from netspec.spec import load, loads


def lowered(spec, kind="cuda", size=None, fused=True):
    devices = dict.fromkeys(spec.devices, kind)
    return lower(build(spec, "train", size or BATCH), devices, dict.fromkeys(spec.devices, 1), fused=fused)


def small(program, *ops):
    """Steps of these operations, and their launches."""
    steps = [step for step in program.steps if step.op in ops]
    return len(steps), sum(len(step.passes) for step in steps)


@pytest.mark.parametrize(("name", "devices"), [("alexnet-one-device", 1), ("alexnet", 2)])
def test_alexnet_has_a_check_and_an_update_of_small_tensors_a_device(name, devices):
    """The weights of its dense layers, three on one device and five on two, keep launches of their own."""
    program, large = lowered(load(name), size=128), {1: 3, 2: 5}[devices]
    assert small(program, "finite") == (devices + large, 2 * (devices + large))
    assert small(program, "update") == (devices + large, devices + large)
    apart = lowered(load(name), size=128, fused=False)
    assert small(apart, "finite", "update")[1] == {1: 50, 2: 92}[devices]
    update = next(step for step in program.steps if step.op == "update")
    assert update.name == f"conv1.weight@{update.device}.update" and update.others[0] == f"conv1.bias@{update.device}"
    assert len(update.fused) == 12 and not any("fc6.weight" in one for one in update.others)


def test_cpus_keep_their_steps():
    program = lowered(network(TWO_TOWERS), "cpu")
    assert not any(step.fused for step in program.steps if step.op in ("finite", "update"))


def test_what_has_a_rate_of_its_own_is_updated_apart():
    spec = load("alexnet-one-device", ["train.schedule={type: hand, steps: [{epoch: 0, layers: {'fc8.*': 2.0}}]}"])
    updates = {step.name: step.others for step in lowered(spec, size=2).steps if step.op == "update"}
    assert updates["fc8.weight@main.update"] == updates["fc8.bias@main.update"] == ()
    assert len(updates["conv1.weight@main.update"]) == 11


def test_parameters_of_a_launch_are_no_more_than_a_kernel_takes():
    """ResNet-18 has 62 parameters, and states of 20 batch normalisations."""
    program = lowered(load("resnet18"), size=2)
    merged = [one for step in program.steps for one in step.passes if one.kernel.startswith("multi_tensor.")]
    assert len(merged) > 8 and small(program, "commit")[1] < 6
    for one in merged:
        arrays = sum(target is not None for _, target in one.args)
        assert 8 * (7 * arrays + len(one.args) - arrays) <= PARAMETER_BYTES
        assert find_kernel(one.kernel).args == tuple(name for name, _ in one.args)


def test_averages_follow_all_updates_in_one_launch():
    assert small(lowered(load("alexnet-one-device", ["train.ema={}"]), size=2), "update", "average") == (8, 8)


def steps_of(spec):
    plan = build(spec, "train", BATCH)
    devices = dict.fromkeys(spec.devices, "cuda")
    lowering = Lowering(plan, devices, dict.fromkeys(spec.devices, 1), 0)
    return [lowering.lower(step) for step in plan.steps], lowering.buffers, devices


def test_who_waits_for_a_merged_step_waits_for_what_stands_for_it():
    """For the step that took it in, or for what its queue had done beside, if that ended later."""
    steps, buffers, devices = steps_of(network(ONE_DEVICE))
    checks = [step for step in steps if step.op == "finite"]
    updates = [step for step in steps if step.op == "update"]
    waiting = replace(steps[0], key=replace(steps[0].key, op="copy"), queue="copy", args={}, passes=())
    between = replace(waiting, key=replace(steps[0].key, op="sum"), queue="compute", after=())
    for last, wanted in ((checks[-1], checks[0]), (updates[-1], between)):
        order = [*steps[: steps.index(updates[-1])], between, *steps[steps.index(updates[-1]) :]]
        merged = merge([*order, replace(waiting, after=(last.key,))], buffers, devices)
        assert merged[-1].after == (wanted.key,)


def test_what_must_come_between_keeps_steps_apart():
    """A copy that writes what the third check reads: that one cannot run as early as the first."""
    steps, buffers, devices = steps_of(network(ONE_DEVICE))
    checks = [place for place, step in enumerate(steps) if step.op == "finite"]
    third = steps[checks[2]]
    written = {Argument("y"): third.args[Argument("source")]}
    copy = replace(steps[0], key=replace(third.key, op="copy"), queue="copy", args=written, writes=tuple(written))
    for order, others in (([copy], len(checks) - 2), ([replace(copy, writes=())], len(checks) - 1)):
        merged = merge([*steps[: checks[2]], *order, *steps[checks[2] :]], buffers, devices)
        assert next(len(step.fused) for step in merged if step.op == "finite") == others


@needs_compiler
@pytest.mark.parametrize(
    ("text", "options"),
    [(ONE_DEVICE, []), (TWO_TOWERS, ["train.ema={}", "train.solver=adamw", "train.clip_norm=0.5"])],
)
def test_merged_steps_give_the_same_bits(text, options):
    found = {}
    for fuse in ("true", "false"):
        spec = loads(textwrap.dedent(shortened(text)), "net.yaml", [*options, f"train.fuse={fuse}"])
        rates = Rates(0.05, make_solver(spec.train.solver).numbers, average=0.5)
        names = [f"cpu:{number}" for number in range(len(spec.devices))]
        with Session(spec, names, runner="serial", phases=("train",), opener=cards) as session:
            for iteration in range(2):
                assert session.train(batch(iteration), iteration, BATCH, rates).finite
            found[fuse] = session.store.tensors()
            kernels = {one.kernel for step in session.programs["train"].steps for one in step.passes}
        assert any(one.startswith("multi_tensor.") for one in kernels) == (fuse == "true")
    same_bits(found["true"], found["false"])
