"""Resuming a run: as if it had never been interrupted, or not at all."""

import json
from dataclasses import replace

import pytest
import run_damage
from training_runs import SPEC, final, same, spec, stopping_after, told, train, whole

from netspec.errors import NetspecError, SpecError
from netspec.events import CheckpointWritten, IterationDone, Note, RunStarted
from netspec.rundir.directory import read_history
from netspec.runners.training import checkpoint
from netspec.runners.training.saver import listed

__all__ = ["spec", "whole"]


@pytest.mark.parametrize("stop", [1, 4, 5, 6, 10, 14, 15])
def test_stopped_and_resumed_is_as_never_stopped(spec, whole, stop):
    first, events = train(spec, listener=stopping_after(stop), out=spec.parent / "others")
    assert (first.status, first.exit_code, first.iteration) == ("interrupted", 143, stop)
    assert first.checkpoint.name == f"iteration-{stop:08d}.safetensors"
    second, events = train(spec, resume="latest", out=spec.parent / "others", runner="serial")
    assert second.folder == first.folder
    assert told(events, RunStarted)[0].iteration == stop
    assert second.status == "finished"
    assert same(final(second), final(whole))
    assert (first.folder / "checkpoints" / whole.checkpoint.name).read_bytes() == whole.checkpoint.read_bytes()


def test_changes_of_training_are_taken_told_and_recorded(spec):
    first, _ = train(spec, listener=stopping_after(7))
    second, events = train(None, resume=str(first.folder), epochs=4, overrides=["train.solver.learning_rate=0.01"])
    assert second.iteration == 20
    texts = [note.text for note in told(events, Note)]
    assert "changed: train.epochs: 3 -> 4" in texts
    assert "changed: train.solver.learning_rate: 0.05 -> 0.01" in texts
    assert told(events, IterationDone)[0].learning_rate == 0.01
    entry = next(entry for entry in read_history(first.folder) if entry["what"] == "resume")
    assert entry["changes"] == ["train.epochs: 3 -> 4", "train.solver.learning_rate: 0.05 -> 0.01"]
    assert entry["iteration"] == 7


def test_what_the_command_line_said_need_not_be_said_again(spec):
    train(spec, listener=stopping_after(7), seed=9, epochs=2, overrides=["layers.conv1.filters=4"])
    second, _ = train(spec, resume="latest")
    assert second.iteration == 10
    assert checkpoint.read(second.checkpoint).record.seed == 9


def test_edits_of_the_spec_file_count(spec):
    train(spec, listener=stopping_after(7))
    spec.write_text(SPEC.replace("learning_rate: 0.05", "learning_rate: 0.02").replace("epochs: 3", "epochs: 2"))
    result, events = train(spec, resume="latest")
    assert result.iteration == 10
    assert told(events, IterationDone)[0].learning_rate == 0.02


@pytest.mark.parametrize(
    ("edit", "options", "message"),
    [
        (("filters: 8", "filters: 4"), {}, r"the spec file differs.*\n  layers.conv1.filters: 8 -> 4"),
        (("seed: 5", "seed: 6"), {}, r"train.seed: 5 -> 6"),
        (("keep: 0.8", "keep: 0.5"), {}, r"layers.drop1.keep: 0.8 -> 0.5"),
        (("mirror: true", "mirror: false"), {}, r"data.mirror: true -> false"),
        (("images: 44", "images: 45"), {}, r"data.source.images: 44 -> 45"),
        ((), {"seed": 8}, r"what is asked differs from the run.*\n  train.seed: 5 -> 8"),
        ((), {"overrides": ["layers.fc.rate=2"]}, r"layers.fc.rate: 1.0 -> 2"),
        ((), {"batch": 4}, r"train.batch: 8 -> 4: the checkpoint lies in the middle of an epoch"),
    ],
)
def test_what_would_make_it_another_run_is_refused(spec, edit, options, message):
    train(spec, listener=stopping_after(7))
    if edit:
        spec.write_text(SPEC.replace(*edit))
    with pytest.raises(NetspecError, match=f"(?s){message}"):
        train(spec, resume="latest", **options)


def test_the_batch_can_change_at_an_epochs_end(spec):
    train(spec, iterations=5)
    result, _ = train(spec, resume="latest", batch=11, overrides=["train.iterations=null"])
    assert (result.iteration, result.epoch) == (5 + 2 * 4, 3)


def test_other_images_are_refused(spec):
    first, _ = train(spec, listener=stopping_after(7))
    record = checkpoint.read(first.checkpoint)

    data = {"train": {**record.record.data["train"], "labels": 1}, "val": record.record.data["val"]}
    checkpoint.write(first.checkpoint, replace(record, record=replace(record.record, data=data)))
    with pytest.raises(NetspecError, match=r"the images in generated are not the run's:\n  train.labels: 1 -> "):
        train(spec, resume="latest")


def test_a_checkpoint_file_starts_a_branch(spec, whole):
    first, _ = train(spec, listener=stopping_after(7))
    before = sorted(path.name for path in first.folder.rglob("*"))
    second, _ = train(None, resume=str(first.checkpoint), out=spec.parent / "branch")
    assert second.folder.parent == spec.parent / "branch" / "tiny"
    assert same(final(second), final(whole))
    assert sorted(path.name for path in first.folder.rglob("*")) == before


def test_damaged_checkpoints_are_passed_over_and_named(spec, whole):
    for path in listed(whole.folder / "checkpoints")[:2]:
        path.write_bytes(path.read_bytes()[:-100])
    result, events = train(spec, resume="latest")
    texts = " ".join(note.text for note in told(events, Note))
    assert "iteration-00000015.safetensors: damaged" in texts
    assert "iteration-00000010.safetensors: damaged" in texts
    assert "going on from" in texts
    assert "iteration-00000005.safetensors, iteration 5" in texts
    assert told(events, RunStarted)[0].iteration == 5
    assert same(final(result), final(train(spec)[0]))


def test_with_every_checkpoint_damaged_it_stops(spec, whole):
    for path in listed(whole.folder / "checkpoints"):
        path.write_bytes(b"")
    with pytest.raises(NetspecError, match=r"no checkpoint is whole and finite:\n.*15.safetensors: damaged"):
        train(spec, resume="latest")


HOSTILE = {
    "a position beyond the set": lambda values: values.update(position=2**40),
    "a spec that is none": lambda values: values["spec"].update(layers=[{"name": "x", "type": "magic"}]),
    "a text for a number": lambda values: values["given"]["train"].update(batch="many"),
    "no seed": lambda values: values.pop("seed"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_checkpoint_of_right_sums_that_cannot_be_is_passed_over_and_named(spec, whole, change):
    newest = listed(whole.folder / "checkpoints")[0]
    metadata, tensors = run_damage.read(newest)
    values = json.loads(metadata["netspec"])
    change(values)
    run_damage.write(newest, json.dumps(values), tensors)
    result, events = train(spec, resume="latest")
    texts = [note.text for note in told(events, Note)]
    assert any(text.startswith(f"{newest}: ") and "set aside as" in text for text in texts)
    assert told(events, RunStarted)[0].iteration == 10
    assert same(final(result), final(train(spec)[0]))


def test_where_no_checkpoints_spec_holds_none_is_set_aside(spec, whole):
    """The reason may be a plugin that was not named this time."""
    for path in listed(whole.folder / "checkpoints"):
        metadata, tensors = run_damage.read(path)
        run_damage.write(path, metadata["netspec"].replace('"type": "relu"', '"type": "mine"'), tensors)
    before = sorted(whole.folder.rglob("*"))
    with pytest.raises(SpecError, match=r"iteration-00000015\.safetensors:1:1: relu1: unknown layer type 'mine'"):
        train(None, resume=str(whole.folder))
    assert sorted(whole.folder.rglob("*")) == before


@pytest.mark.parametrize("change", ["lost", "another's", "of another shape"])
def test_tensors_that_do_not_fit_are_told_with_their_file(spec, whole, change):
    newest = listed(whole.folder / "checkpoints")[0]
    metadata, tensors = run_damage.read(newest)
    bias = tensors.pop("fc.bias") if change == "lost" else tensors["fc.bias"]
    tensors |= {} if change == "lost" else {"other": bias} if change == "another's" else {"fc.bias": bias[1:]}
    run_damage.write(newest, metadata["netspec"], tensors)
    with pytest.raises(NetspecError, match=rf"^{newest}: these tensors do not fit the network: '(fc\.bias|other)'"):
        train(spec, resume="latest")


def test_a_link_to_a_checkpoint_is_followed_where_a_person_names_it(spec, whole):
    link = spec.parent / "best.safetensors"
    link.symlink_to(whole.checkpoint)
    result, _ = train(None, resume=str(link), out=spec.parent / "branch", epochs=4)
    assert result.iteration == 20
    inside = whole.folder / "checkpoints" / "iteration-00000099.safetensors"
    inside.symlink_to(whole.checkpoint)
    result, events = train(spec, resume="latest", epochs=4)
    assert f"{inside}: is a link, which is not followed" in " ".join(note.text for note in told(events, Note))
    assert result.iteration == 20


def test_there_must_be_something_to_resume(spec):
    with pytest.raises(NetspecError, match="no run to resume"):
        train(spec, resume="latest")
    with pytest.raises(NetspecError, match="no such run directory or checkpoint"):
        train(spec, resume="nowhere")
    with pytest.raises(NetspecError, match="not a run directory"):
        train(spec, resume=str(spec.parent))
    with pytest.raises(NetspecError, match="name a spec to train"):
        train(None, out=spec.parent)


def test_a_finished_run_is_left_as_it_is(spec, whole):
    again, events = train(spec, resume="latest")
    assert again.status == "finished"
    assert again.errors == whole.errors
    assert not told(events, IterationDone)
    assert not told(events, CheckpointWritten)
