"""Runs that freeze, average, follow a schedule written step by step, or start from another run's parameters."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from training_runs import SPEC, final, same, spec, stopping_after, told, train

from netspec.api import evaluate, predict
from netspec.errors import NetspecError, SpecError
from netspec.events import IterationDone, Note
from netspec.runners.training import checkpoint
from netspec.runners.training.saver import listed

__all__ = ["spec"]

HAND = (
    "train.schedule={type: hand, steps: [{epoch: 1, rate: 0.1, layers: {fc.bias: 3}}, {epoch: 2, freeze: [conv1]}]}"
)


def tensors(result, iteration):
    return checkpoint.read(result.folder / "checkpoints" / f"iteration-{iteration:08d}.safetensors").tensors


def weights(found):
    return {name: array for name, array in found.items() if name.count(".") == 1 and "mean" not in name}


def notes(events):
    return "\n".join(note.text for note in told(events, Note))


def write(spec, name, **changes):
    """A spec beside the other, of another name."""
    text = SPEC.replace("name: tiny", f"name: {name}")
    for old, new in changes.items():
        text = text.replace(old, new)
    path = spec.with_name(f"{name}.yaml")
    path.write_text(text)
    return path


# Frozen from an epoch on ----------------------------------------------------------------------------------------------


def test_a_layer_frozen_from_an_epoch_on_keeps_its_parameters_and_momentum(spec):
    result, events = train(spec, overrides=[HAND])
    rates = [event.learning_rate for event in told(events, IterationDone)]
    assert rates == pytest.approx([0.05] * 5 + [0.005] * 10)
    before, after = tensors(result, 10), tensors(result, 15)
    for name in before:
        frozen = name.startswith("conv1") or name == "image.mean"
        assert np.array_equal(before[name], after[name]) == frozen, name


def test_a_parameter_has_the_rate_of_the_pattern_that_names_it(spec):
    """One iteration by hand: twice the factor, twice the step, since there is no momentum yet."""
    steps = "train.schedule={type: hand, steps: [{epoch: 0, layers: {fc.weight: %s}}]}"
    start = final(train(spec, iterations=1, overrides=[steps % 0])[0])
    once, twice = (final(train(spec, iterations=1, overrides=[steps % factor])[0]) for factor in (1, 2))
    assert np.array_equal(once["conv1.weight"], twice["conv1.weight"])
    moved = once["fc.weight"] - start["fc.weight"]
    np.testing.assert_allclose(twice["fc.weight"] - start["fc.weight"], 2 * moved, atol=1e-6)
    assert np.abs(moved).max() > 1e-4


def test_frozen_layers_stay_as_the_initialisers_left_them(spec):
    result, _ = train(spec, overrides=["train.freeze=[conv1]"])
    first = final(train(spec, iterations=1, overrides=["train.freeze=[conv1]"])[0])
    last = final(result)
    assert np.array_equal(first["conv1.weight"], last["conv1.weight"])
    assert not np.array_equal(first["fc.weight"], last["fc.weight"])
    assert "conv1.weight.momentum" not in last and "fc.weight.momentum" in last


@pytest.mark.parametrize("stop", [3, 5, 11])
def test_resumed_with_all_of_it_is_as_never_stopped(spec, stop):
    sets = [HAND, "train.ema={decay: 0.9}", "train.freeze=[conv1.bias]"]
    whole, _ = train(spec, overrides=sets)
    train(spec, listener=stopping_after(stop), out=spec.parent / "others", overrides=sets)
    second, _ = train(spec, resume="latest", out=spec.parent / "others", runner="serial")
    assert same(final(second), final(whole))
    assert second.checkpoint.read_bytes() == whole.checkpoint.read_bytes()


def test_what_is_no_longer_frozen_trains_on_from_where_it_is(spec):
    first, _ = train(spec, epochs=1, overrides=["train.freeze=[conv1]"])
    before = final(first)
    second, events = train(None, resume=str(first.folder), epochs=2, overrides=["train.freeze=[]", "train.ema={}"])
    assert 'changed: train.freeze: ["conv1"] -> []' in notes(events)
    assert "beginning at 0, averages at their parameters: conv1.weight.momentum, conv1.weight.average" in notes(events)
    assert not np.array_equal(before["conv1.weight"], final(second)["conv1.weight"])
    third, _ = train(None, resume=str(first.folder), epochs=3, overrides=["train.ema=null", "train.freeze=[fc]"])
    assert not any("average" in name or name == "fc.weight.momentum" for name in final(third))


# Averages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warmup", [True, False])
def test_averages_are_those_of_the_formula(spec, warmup):
    sets = [f"train.ema={{decay: 0.5, warmup: {str(warmup).lower()}}}"]
    every = [final(train(spec, iterations=n, overrides=sets)[0]) for n in (1, 2, 3, 4)]
    steps = "train.schedule={type: hand, steps: [{epoch: 0, rate: 0}]}"
    average = final(train(spec, iterations=1, overrides=[steps])[0])["conv1.weight"]
    for n, found in enumerate(every):
        decay = min(0.5, (1 + n) / (10 + n)) if warmup else 0.5
        average = decay * average + (1 - decay) * found["conv1.weight"]
        np.testing.assert_allclose(found["conv1.weight.average"], average, rtol=1e-5, atol=1e-7)
    plain = final(train(spec, iterations=4)[0])
    assert same(plain, {name: every[-1][name] for name in plain})


def test_averages_are_what_is_evaluated_and_predicted_with(spec, tmp_path):
    """As a run whose parameters are those averages; with ``evaluate: false`` the parameters themselves."""
    averaged, _ = train(spec, overrides=["train.ema={decay: 0.9, warmup: false}"])
    found = checkpoint.read(averaged.checkpoint)
    other, _ = train(spec)
    place = checkpoint.read(other.checkpoint)
    values = {name: found.tensors.get(f"{name}.average", found.tensors[name]) for name in place.tensors}
    checkpoint.write(other.checkpoint, checkpoint.Checkpoint(place.record, values))
    devices = {"devices": "cpu:0,cpu:1"}
    one, two = (evaluate(run.checkpoint, **devices) for run in (averaged, other))
    assert one.loss == two.loss
    assert found.record.evaluated.loss == pytest.approx(one.loss)
    picture = np.full((8, 8, 3), 90, np.uint8)
    assert predict(averaged.checkpoint, [picture], **devices) == predict(other.checkpoint, [picture], **devices)
    raw, _ = train(spec, overrides=["train.ema={decay: 0.9, warmup: false, evaluate: false}"])
    assert evaluate(raw.checkpoint, **devices).loss == checkpoint.read(raw.checkpoint).record.evaluated.loss != one.loss


# Starting from another run --------------------------------------------------------------------------------------------


@pytest.fixture
def source(spec):
    result, _ = train(spec, overrides=["train.ema={decay: 0.9}"])
    return result


def start(spec, source, layers="{}", **changes):
    """A spec of five classes that starts from the other run, by a path relative to it."""
    path = write(spec, "tuned", **{"units: 3": "units: 5", "classes: 3": "classes: 5", **changes})
    where = source.folder.relative_to(path.parent)
    text = path.read_text().replace("train: {", f"train: {{init_from: {{path: {where}, layers: {layers}}}, ")
    path.write_text(text)
    return path


def test_what_fits_by_name_and_shape_is_taken_and_told(spec, source):
    tuned, events = train(start(spec, source), iterations=1, overrides=["train.freeze=[conv1]"])
    best = listed(source.folder / "checkpoints")
    record = checkpoint.read(tuned.checkpoint).record.init_from
    path = next(path for path in best if str(path) == record["path"])
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["taken"] == ["conv1.weight", "conv1.bias"]
    assert record["new"] == {"fc.weight": "[4, 4, 8, 3] there, [4, 4, 8, 5] here", "fc.bias": "[3] there, [5] here"}
    assert json.loads((tuned.folder / "start.json").read_text())["init_from"] == record
    assert np.array_equal(final(tuned)["conv1.weight"], checkpoint.read(path).tensors["conv1.weight.average"])
    told_of = notes(events)
    assert f"starts from {path} (iteration {record['iteration']}, averages)" in told_of
    assert "taken: conv1 (weight, bias)" in told_of and "new: fc.weight ([4, 4, 8, 3] there" in told_of


def test_layers_say_what_is_new_and_what_must_be_there(spec, source):
    fresh, _ = train(start(spec, source, "{conv1.weight: new}"), iterations=1, overrides=["train.freeze=[conv1]"])
    plain, _ = train(start(spec, source), iterations=1, overrides=["train.freeze=[conv1]"])
    assert np.array_equal(final(fresh)["conv1.bias"], final(plain)["conv1.bias"])
    assert not np.array_equal(final(fresh)["conv1.weight"], final(plain)["conv1.weight"])
    with pytest.raises(SpecError, match=r"tuned.yaml:.*'fc: keep', but fc.weight cannot be had from .* there"):
        train(start(spec, source, "{'*': keep, fc: keep}"))
    with pytest.raises(SpecError, match=r"fits this network by name and shape"):
        train(start(spec, source, "{'*': new}"))


def test_a_run_goes_on_without_what_it_started_from(spec, source):
    tuned = start(spec, source)
    whole, _ = train(tuned)
    stopped, _ = train(tuned, listener=stopping_after(2), out=spec.parent / "others")
    shutil.rmtree(source.folder)
    for newer in listed(stopped.folder / "checkpoints")[:-1]:
        newer.unlink()  # as if killed before the first iteration was over
    second, events = train(tuned, resume="latest", out=spec.parent / "others")
    assert "iteration 0" in notes(events)
    assert same(final(second), final(whole))
    assert checkpoint.read(second.checkpoint).record.init_from["taken"] == ["conv1.weight", "conv1.bias"]
    with pytest.raises(SpecError, match="no such run directory or checkpoint"):
        train(tuned, out=spec.parent / "third")


def test_a_resumed_run_has_no_other_start(spec, source):
    first, _ = train(spec, epochs=1)
    with pytest.raises(NetspecError, match=r"train.init_from.path: none -> "):
        train(None, resume=str(first.folder), init_from=source.folder)


@pytest.mark.parametrize("given", ["folder", "checkpoint"])
def test_the_command_line_names_a_start_too(spec, source, given):
    where = getattr(source, given)
    tuned, _ = train(write(spec, "other"), iterations=1, init_from=where, overrides=["train.freeze=[fc]"])
    path = Path(checkpoint.read(tuned.checkpoint).record.init_from["path"])
    assert path in listed(source.folder / "checkpoints")
    assert np.array_equal(final(tuned)["fc.weight"], checkpoint.read(path).tensors["fc.weight.average"])


def test_averages_begin_at_what_was_taken(spec, source):
    sets = ["train.ema={}", "train.schedule={type: hand, steps: [{epoch: 0, rate: 0}]}"]
    tuned, _ = train(write(spec, "other"), iterations=1, init_from=source.folder, overrides=sets)
    found = final(tuned)
    assert np.array_equal(found["fc.weight"], found["fc.weight.average"])
