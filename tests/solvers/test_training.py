"""Whole runs by each solver: two devices, clipped gradients, checkpoints, resumption, plugins."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

import numpy as np
import pytest
from chaos import chaos, teams
from compiled import cards, needs_compiler
from nets import BATCH, TWO_TOWERS, batch, same_bits
from places import ROOT
from training_runs import SPEC, final, same, spec, stopping_after, told, train

from netspec.errors import SpecError
from netspec.events import Note
from netspec.planning import build, from_plain, to_plain
from netspec.planning.plan import Plan
from netspec.runners.execution.session import Rates, Session
from netspec.runners.training import checkpoint
from netspec.solvers import make_solver, solver_types
from netspec.spec import canonical, from_canonical, loads

__all__ = ["spec"]
NAMES = ["sgd", "nesterov", "adamw", "lars"]
STATE = {"sgd": ["momentum"], "nesterov": ["momentum"], "adamw": ["m", "v", "scales"], "lars": ["momentum", "scales"]}
CLIP = "train.clip_norm=0.5"
SMALL = SPEC.replace("scale: 0.01", "mean: none, scale: 0.01").replace("type: dropout, keep: 0.8", "type: relu")


def towers(name, *sets):
    return loads(textwrap.dedent(TWO_TOWERS), "net.yaml", [f"train.solver={name}", *sets])


def rates(spec, factors=()):
    solver = make_solver(spec.train.solver)
    return Rates(solver.learning_rate, solver.numbers, factors)


def learned(spec, devices=("cpu:0", "cpu:1"), iterations=3, **options) -> Mapping:
    """All tensors after some iterations."""
    with Session(spec, devices, phases=("train",), **options) as session:
        for number in range(iterations):
            outcome = session.train(batch(number), number, BATCH, rates(spec))
            assert outcome.finite and not outcome.overflowed
        return session.store.tensors()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_however_the_work_is_spread(name):
    spec = towers(name, CLIP)
    wanted = learned(spec, runner="serial")
    same_bits(learned(spec, opener=chaos(1)), wanted)
    same_bits(learned(spec, opener=teams(3, 2)), wanted)
    same_bits(learned(spec, ["cpu:0", "cpu:0"]), wanted)


def test_gradients_are_scaled_to_the_norm_of_all_of_them():
    """The solver sees g min(1, limit / norm), the norm being that of both devices' gradients together."""
    unclipped = towers("sgd", "train.solver={momentum: 0, weight_decay: 0, learning_rate: 1}")
    with Session(unclipped, ["cpu:0", "cpu:1"], phases=("train",)) as session:
        before = session.store.tensors()
        session.train(batch(0), 0, BATCH, rates(unclipped))
        steps = {name: array for name, array in session.store.tensors().items() if "momentum" in name}
    gradients = {name: -array.astype(np.float64) for name, array in steps.items()}
    norm = np.sqrt(sum((one**2).sum() for one in gradients.values()))
    for limit in (norm / 3, norm * 3):
        plain = "train.solver={momentum: 0, weight_decay: 0, learning_rate: 1}"
        clipped = towers("sgd", plain, f"train.clip_norm={limit}")
        found = learned(clipped, iterations=1)
        for name, gradient in gradients.items():
            wanted = -gradient * min(1, limit / norm)
            np.testing.assert_allclose(found[name], wanted, rtol=2e-6, atol=1e-7 * norm, err_msg=name)
            parameter = name.removesuffix(".momentum")
            np.testing.assert_allclose(found[parameter], before[parameter] + found[name], rtol=1e-6, atol=1e-7)


def test_a_norm_that_nothing_is_cut_by_changes_no_bit():
    same_bits(learned(towers("sgd", "train.clip_norm=1.0e+6")), learned(towers("sgd")))


def test_each_device_s_part_of_a_layer_has_the_rate_of_its_own_norms():
    spec = towers("lars")
    with Session(spec, ["cpu:0", "cpu:1"], phases=("train",)) as session:
        w = session.store.tensor("conv1.weight").astype(np.float64)
        session.train(batch(0), 0, BATCH, rates(spec))
        found = session.store.tensors()
    settings, local = make_solver(spec.train.solver).settings, found["conv1.weight.scales"]
    assert local.shape == (2, 1) and found["fc5.weight.scales"].shape == (1, 1) and local[0] != local[1]
    for half in range(2):
        part = (..., slice(4 * half, 4 * half + 4))
        norm = np.linalg.norm(w[part])
        direction = found["conv1.weight.momentum"][part] / local[half, 0] - settings["weight_decay"] * w[part]
        wanted = settings["trust"] * norm / (np.linalg.norm(direction) + settings["weight_decay"] * norm)
        assert local[half, 0] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_has_the_solver_s_state_and_survives_json(name):
    plan = build(towers(name, CLIP))
    kept = {key.of.slot for key in plan.keys("solver state")}
    assert kept == set(STATE[name])
    for key in plan.keys("solver state"):
        assert key.of.slot == "scales" or plan.buffers[key].shape == plan.buffers[_of(plan, key)].shape
    assert from_plain(Plan, to_plain(plan)) == plan


def _of(plan, key):
    return next(one for one in plan.keys("parameter") if one.of == key.of.parameter and one.device == key.device)


def test_without_clipping_nothing_of_it_is_planned():
    plan = build(towers("sgd"))
    assert not plan.keys("norm") and not {"squares", "total", "clip", "scale"} & {step.op for step in plan.steps}
    assert sum(step.op == "finite" for step in plan.steps) > 10


@needs_compiler
@pytest.mark.parametrize("name", NAMES)
def test_an_emulated_card_does_what_cpus_do(name):
    spec = loads(SMALL, "net.yaml", [f"train.solver={name}", CLIP, "train.cuda.precision=float32", "train.batch=2"])
    arrays, found = batch(0, (8, 8, 3), 2, classes=3), []
    for opener in ({}, {"opener": cards}):
        with Session(spec, ["cpu:0", "cpu:1"], runner="serial", phases=("train",), **opener) as session:
            for number in range(2):
                session.train(arrays, number, 2, rates(spec))
            found.append(session.store.tensors())
    for key, wanted in found[0].items():
        scale = max(np.abs(wanted).max(), 1e-3)
        np.testing.assert_allclose(found[1][key], wanted, rtol=0, atol=2e-5 * scale, err_msg=key)


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_resumed_is_as_never_stopped(spec, name):
    """With a schedule that freezes and thaws, averages, clipping; the state is in checkpoints by name."""
    hand = "train.schedule={type: hand, steps: [{epoch: 0, freeze: [conv1]}, {epoch: 1, layers: {conv1: 1}}]}"
    sets = [f"train.solver={name}", CLIP, hand, "train.ema={}"]
    whole, _ = train(spec, overrides=sets)
    train(spec, listener=stopping_after(7), out=spec.parent / "others", overrides=sets)
    second, _ = train(spec, resume="latest", out=spec.parent / "others", runner="serial")
    assert same(final(second), final(whole))
    for parameter in ("conv1.weight", "fc.bias"):
        kept = {key.rpartition(".")[2] for key in final(whole) if key.startswith(f"{parameter}.")}
        assert kept == {*STATE[name], "average"}


def test_a_parameter_that_is_thawed_counts_its_own_updates(spec):
    """The scales of AdamW are 1 - beta^t with the t of the parameter."""
    hand = "train.schedule={type: hand, steps: [{epoch: 0, freeze: [conv1]}, {epoch: 2, layers: {conv1: 1}}]}"
    found = final(train(spec, overrides=["train.solver=adamw", hand])[0])
    for key, updates in (("conv1.weight", 5), ("fc.weight", 15)):
        wanted = [1 - 0.9**updates, 1 - 0.999**updates]
        scales = found[f"{key}.scales"]
        np.testing.assert_allclose(scales, [wanted] * len(scales), rtol=2e-5)  # 1 - 0.999 is off by that in float32


def test_a_run_that_goes_on_by_another_solver_begins_its_state_anew(spec):
    first, _ = train(spec, epochs=1)
    second, events = train(None, resume=str(first.folder), epochs=2, overrides=["train.solver=nesterov"])
    text = "\n".join(note.text for note in told(events, Note))
    assert "changed: train.solver.type: \"sgd\" -> \"nesterov\"" in text
    assert "beginning at 0, averages at their parameters: conv1.weight.momentum" in text
    third, _ = train(None, resume=str(second.folder), epochs=3, overrides=["train.solver=adamw"])
    assert not any("momentum" in name for name in final(third))


def test_a_record_of_version_0_1_is_the_spec_that_it_was(spec):
    """Its solver is called sgd; a run is resumed to the same bits."""
    whole, _ = train(spec)
    stopped, _ = train(spec, listener=stopping_after(6), out=spec.parent / "others")
    found = checkpoint.read(stopped.checkpoint)
    for data in (found.record.spec, found.record.given):
        data["train"]["sgd"] = data["train"].pop("solver")
        del data["train"]["sgd"]["type"]
        del data["train"]["clip_norm"]
        assert canonical(from_canonical(data))["train"]["solver"] == {"type": "sgd", **data["train"]["sgd"]}
    checkpoint.write(stopped.checkpoint, found)
    second, events = train(spec, resume="latest", out=spec.parent / "others")
    assert same(final(second), final(whole))
    assert not [note.text for note in told(events, Note) if "changed" in note.text]


# Specs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "solver"),
    [
        (["train.sgd.momentum=0.5"], {"type": "sgd", "momentum": 0.5, "learning_rate": 0.05}),
        (["train.solver.momentum=0.5"], {"type": "sgd", "momentum": 0.5, "learning_rate": 0.05}),
        (["train.solver=lars"], {"type": "lars", "learning_rate": 1.0, "trust": 0.001}),
        (["train.solver={type: lars}", "train.solver.trust=0.1"], {"type": "lars", "trust": 0.1}),
        (["train.solver=lars", "train.sgd.momentum=0.5"], {"type": "sgd", "momentum": 0.5, "learning_rate": 0.01}),
    ],
)
def test_ways_to_say_it(sets, solver):
    found = loads(SPEC, "tiny.yaml", sets).train.solver
    assert found.items() >= solver.items() and found.keys() == {"type", *solver_types()[found["type"]].attrs}


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["train.solver=adam"], "unknown solver 'adam'"),
        (["train.solver={type: adamw, momentum: 0.9}"], "unknown key 'momentum' in 'train.solver'"),
        (["train.solver={type: adamw, beta1: 1}"], "'train.solver.beta1' must be a number of at least 0 and less than"),
        (["train.clip_norm=0"], "'train.clip_norm' must be a number of more than 0"),
        (["train.solver=[1]"], "'train.solver' must be a map"),
        (["train.sgd=5"], "'train.sgd' must be a map"),
    ],
)
def test_what_is_wrong_is_told(sets, said):
    with pytest.raises(SpecError, match=said.replace("'", ".")):
        loads(SPEC, "tiny.yaml", sets)


def test_the_solver_is_said_once():
    text = SPEC.replace("sgd: {learning_rate: 0.05}", "sgd: {learning_rate: 0.05}, solver: adamw")
    with pytest.raises(SpecError, match=r"'train.sgd' and 'train.solver' both say what the solver is \(leave one of"):
        loads(text, "tiny.yaml")


# Plugins --------------------------------------------------------------------------------------------------------------

SIGNUM = re.search(r"```python\n(# signum.py\n.*?)```", (ROOT / "docs" / "plugins.md").read_text(), re.DOTALL)[1]


def test_a_solver_from_a_file_trains_and_is_found_again(spec):
    file = spec.parent / "signum.py"
    file.write_text(SIGNUM)
    spec.write_text(SPEC.replace("sgd: {learning_rate: 0.05}", "solver: {type: signum, learning_rate: 0.01}"))
    whole, _ = train(spec, plugins=[file], out=spec.parent / "whole")
    stopped, _ = train(spec, plugins=[file], listener=stopping_after(7))
    (recorded,) = checkpoint.read_record(stopped.checkpoint).plugins
    assert recorded.types == ("solvers.signum",)
    second, _ = train(None, resume=str(stopped.folder))
    assert same(final(second), final(whole)) and "fc.weight.mean" in final(whole)
    first = checkpoint.read(whole.folder / "checkpoints" / "iteration-00000005.safetensors").tensors["fc.weight"]
    moved = (final(whole)["fc.weight"] - first) / 0.01
    np.testing.assert_allclose(moved, np.round(moved), atol=1e-3)
