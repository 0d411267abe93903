"""``train.scale``: the learning rate follows the batch, in runs, resumed runs and what people are told."""

import json
import math
import shlex

import pytest
from cli_tools import MINI, netspec
from training_runs import final, same, spec, stopping_after, told, train

from netspec.errors import SpecError
from netspec.events import IterationDone, Note
from netspec.runners.training import checkpoint
from netspec.schedules import Schedule, make_schedule, schedule_types
from netspec.spec.types import ScaleSpec

__all__ = ["spec"]
PER_EPOCH, RATE = 5, 0.05


def rates(spec, *sets, **options):
    """The learning rate of each iteration; batches are of 8."""
    result, events = train(spec, overrides=sets, **options)
    return result, [one.learning_rate for one in told(events, IterationDone)]


@pytest.mark.parametrize(("rule", "factor"), [("linear", 4.0), ("sqrt", 2.0)])
def test_the_rate_rises_from_the_solver_s_own_to_the_batch_s(spec, rule, factor):
    _, found = rates(spec, f"train.scale={{base: 2, rule: {rule}, warmup: 1.4}}")
    warm = 1.4 * PER_EPOCH
    wanted = [RATE * (1 + (factor - 1) * done / warm if done < warm else factor) for done in range(15)]
    assert found == pytest.approx(wanted, rel=1e-6) and found[0] == pytest.approx(RATE)
    assert found[-1] == pytest.approx(RATE * factor) and len(set(found)) == 8


def test_a_schedule_multiplies_it(spec):
    _, found = rates(spec, "train.scale={base: 2}", "train.schedule={type: step, at: [1, 2]}")
    assert found == pytest.approx([RATE * 4 / 10 ** (done // PER_EPOCH) for done in range(15)], rel=1e-6)


@pytest.mark.parametrize("base", [8, 32])
def test_there_is_no_warm_up_to_a_rate_that_is_no_higher(spec, base):
    _, found = rates(spec, f"train.scale={{base: {base}, warmup: 2}}", iterations=3)
    assert found == pytest.approx([RATE * 8 / base] * 3, rel=1e-6)


def test_it_trains_as_with_that_rate_and_not_as_without(spec):
    scaled, _ = train(spec, overrides=["train.scale.base=2"], iterations=4)
    by_hand, _ = train(spec, overrides=[f"train.solver.learning_rate={4 * RATE}"], iterations=4)
    plain, _ = train(spec, iterations=4)
    assert same(final(scaled), final(by_hand)) and not same(final(scaled), final(plain))


@pytest.mark.parametrize("stop", [3, 8])
def test_resumed_within_the_warm_up_and_after_it(spec, stop):
    sets = ["train.scale={base: 2, rule: sqrt, warmup: 1.2}"]
    whole, _ = train(spec, overrides=sets)
    first, _ = train(spec, overrides=sets, listener=stopping_after(stop), out=spec.parent / "others")
    second, _ = train(spec, resume=str(first.folder))
    assert second.checkpoint.read_bytes() == whole.checkpoint.read_bytes()


def test_gone_on_with_at_another_batch_the_rate_follows(spec):
    first, _ = train(spec, overrides=["train.scale.base=8"], iterations=PER_EPOCH)
    _, events = train(None, resume=str(first.folder), overrides=["train.batch=4"], iterations=7)
    assert [one.learning_rate for one in told(events, IterationDone)] == pytest.approx([RATE / 2] * 2)
    second, events = train(None, resume=str(first.folder), overrides=["train.scale=null"], iterations=9)
    assert "changed: train.scale" in "".join(note.text for note in told(events, Note))
    assert checkpoint.read(second.checkpoint).record.spec["train"]["scale"] is None


def test_people_are_told(spec):
    sets = ["--set", "train.scale={base: 2, warmup: 2}"]
    line = "learning rate 0.05 is that of batches of 2: 0.2 for 8 (train.scale: linear), warming up to epoch 2"
    assert line in netspec("info", spec, *sets).out and line in netspec("validate", spec, *sets).out
    assert line not in netspec("info", spec, *sets, "--phase", "predict").out
    shown = netspec("show", spec, "--resolved", *sets).out
    assert next(words for line in shown.splitlines() if (words := line.split())[0] == "warmup:")[1] == "2.0"
    result, events = train(spec, overrides=sets[1:], iterations=1)
    assert line in [note.text for note in told(events, Note)]
    assert line in (result.folder / "log.txt").read_text()


@pytest.mark.parametrize("schedule", ["{type: cosine, warmup: 1}", "{type: one_cycle}"])
def test_two_warm_ups_are_refused(spec, schedule):
    sets = ["train.scale={base: 2, warmup: 1}", f"train.schedule={schedule}"]
    with pytest.raises(SpecError, match="both raise the learning rate at first"):
        train(spec, overrides=sets)
    assert netspec("validate", spec, "--set", sets[0], "--set", sets[1]).code == 1
    assert netspec("validate", spec, "--set", "train.scale.base=2", "--set", sets[1]).code == 0


@pytest.mark.parametrize(("written", "message"), [
    ("{}", "'train.scale.base' is missing"),
    ("{base: 0}", "'train.scale.base' must be a whole number of at least 1"),
    ("{base: 2, rule: cubic}", "'train.scale.rule' must be one of linear, sqrt"),
    ("{base: 2, warmup: -1}", "'train.scale.warmup' must be"),
    ("{base: 2, warm: 1}", "unknown key 'warm' in 'train.scale' (did you mean 'warmup'?)"),
    ("linear", "'train.scale' must be a map"),
])  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(spec, written, message):
    spec.write_text(spec.read_text().replace("seed: 5", f"seed: 5, scale: {written}"))
    found = json.loads(netspec("validate", spec, "--json").out)
    assert any(message in one["message"] + f" ({one['remedy']})" and one["line"] == 15
               for one in found[0]["problems"])  # fmt: skip


def test_schedules_say_whether_they_raise_the_rate_at_first():
    found = {name: make_schedule({"type": name, **cls.examples[0]}).warms_up for name, cls in schedule_types().items()}
    assert [name for name, warms_up in found.items() if warms_up] == ["one_cycle"]
    assert Schedule.warms_up and make_schedule({"type": "cosine", "warmup": 1}).warms_up


def test_the_rule():
    assert ScaleSpec(128).factor(1024) == 8.0 and ScaleSpec(128, "sqrt").factor(512) == 2.0
    assert math.isclose(ScaleSpec(128, warmup=5).at(1024, 25, 10), 4.5)


def test_lr_find_suggests_the_solver_s_rate(tmp_path, monkeypatch):
    """What it has tried is the batch's; the command to type has that of the base."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini.yaml").write_text(MINI)
    words = ["lr-find", "mini.yaml", "--workers", 0, "--devices", "cpu:0,cpu:1", "--json"]
    plain, scaled = (json.loads(netspec(*words, *more).out) for more in ([], ["--set", "train.scale.base=2"]))
    assert scaled["suggestion"] == plain["suggestion"] and scaled["losses"] == plain["losses"]
    given, wanted = (float(shlex.split(found["command"])[-1]) for found in (scaled, plain))
    assert given * int(MINI.partition("batch: ")[2].partition(",")[0]) / 2 == pytest.approx(wanted, rel=1e-4)
