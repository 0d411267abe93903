"""Whole runs on two CPU devices: they learn, are repeatable, and go on as if they had never been interrupted."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from netspec import storage
from netspec.api import run
from netspec.errors import NetspecError, SpecError
from netspec.events import CheckpointWritten, EvaluationDone, IterationDone, Note, RunFinished, RunStarted
from netspec.rundir import read_history, runs
from netspec.runners import checkpoint
from netspec.runners.saving import listed

SPEC = """
netspec: 1
name: tiny
devices: [left, right]
inputs:
  image: {shape: [8, 8, 3]}
  label: {dtype: int32}
layers:
  - {name: conv1, type: conv, device: [left, right], inputs: image, filters: 8, size: 3, pad: 1, init: {type: he}}
  - {name: relu1, type: relu}
  - {name: pool1, type: pool, mode: max, size: 2, stride: 2}
  - {name: drop1, type: dropout, keep: 0.8}
  - {name: fc, type: dense, device: left, units: 3, inputs: {from: drop1, connect: all}, init: {type: xavier}}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
train: {batch: 8, epochs: 3, seed: 5, sgd: {learning_rate: 0.05}}
data: {source: {type: generated, classes: 3, images: 44, val_images: 13}, scale: 0.01, mirror: true, workers: 0}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(SPEC)
    return file


def train(spec: Path | None, **options):
    """The result and the events of a run beside the spec."""
    events: list = []
    out = options.pop("out", spec.parent / "runs" if spec else "absent")
    options.setdefault("devices", "cpu:0,cpu:1")
    return run(spec, out=out, listener=options.pop("listener", events.append), **options), events


def final(result) -> dict[str, np.ndarray]:
    return checkpoint.read(result.checkpoint or listed(result.folder / "checkpoints")[0]).tensors


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def told(events, kind):
    return [event for event in events if isinstance(event, kind)]


def stopping_after(iteration: int):
    """A listener that sends this process SIGTERM once the iteration is done."""

    def listen(event):
        if isinstance(event, IterationDone) and event.iteration == iteration:
            os.kill(os.getpid(), signal.SIGTERM)

    return listen


@pytest.fixture
def whole(spec):
    return train(spec)[0]


def test_learns_and_tells(spec):
    result, events = train(spec, epochs=12)
    assert result.status == "finished"
    assert result.exit_code == 0
    assert result.errors["top1"] <= 0.1
    assert told(events, RunStarted)[0].total_iterations == 60
    assert len(told(events, IterationDone)) == 60
    assert {event.images for event in told(events, EvaluationDone)} == {13}
    assert len(told(events, CheckpointWritten)) == 12
    assert told(events, RunFinished)[0].status == "finished"
    assert any("left is cpu:0" in note.text for note in told(events, Note))


def test_what_lies_in_the_directory(spec, whole):
    names = {path.name for path in whole.folder.iterdir()}
    expected = "spec.yaml spec.resolved.yaml environment.json metrics.jsonl log.txt history.jsonl classes.txt mean.npy"
    assert set(expected.split()) <= names
    assert (whole.folder / "spec.yaml").read_text() == SPEC
    assert "conv1" in (whole.folder / "spec.resolved.yaml").read_text()
    environment = json.loads((whole.folder / "environment.json").read_text())
    assert environment["packages"]["numpy"] == np.__version__
    assert np.load(whole.folder / "mean.npy").shape == (8, 8, 3)
    assert len((whole.folder / "classes.txt").read_text().splitlines()) == 3
    assert [entry["what"] for entry in read_history(whole.folder)] == ["start", "finished"]
    summary = runs(whole.folder.parent.parent)[0]
    assert (summary.status, summary.iteration, summary.epoch) == ("finished", 15, 3)
    record = checkpoint.read(whole.checkpoint).record
    assert (record.iteration, record.epoch, record.position, record.seed) == (15, 3, 0, 5)
    assert {"conv1.weight", "conv1.weight.momentum", "image.mean"} <= final(whole).keys()


@pytest.mark.parametrize(
    "options",
    [{}, {"runner": "serial"}, {"devices": "cpu:0,cpu:0"}, {"workers": 1}],
    ids=["again", "serial", "one-team", "worker"],
)
def test_the_same_bits(spec, whole, options):
    assert same(final(train(spec, **options)[0]), final(whole))


def test_another_seed_is_another_run(spec, whole):
    assert not same(final(train(spec, seed=6)[0]), final(whole))


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
    second, events = train(None, resume=str(first.folder), epochs=4, overrides=["train.sgd.learning_rate=0.01"])
    assert second.iteration == 20
    texts = [note.text for note in told(events, Note)]
    assert "changed: train.epochs: 3 -> 4" in texts
    assert "changed: train.sgd.learning_rate: 0.05 -> 0.01" in texts
    assert told(events, IterationDone)[0].learning_rate == 0.01
    entry = next(entry for entry in read_history(first.folder) if entry["what"] == "resume")
    assert entry["changes"] == ["train.epochs: 3 -> 4", "train.sgd.learning_rate: 0.05 -> 0.01"]
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
    from dataclasses import replace

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
    with pytest.raises(NetspecError, match=r"no checkpoint is whole:\n.*15.safetensors: damaged"):
        train(spec, resume="latest")


def test_there_must_be_something_to_resume(spec):
    with pytest.raises(NetspecError, match="no run to go on with"):
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


@pytest.mark.parametrize(
    ("sets", "error", "message"),
    [
        (["train.batch=64"], NetspecError, "44 training images do not fill a batch of 64"),
        (["layers.fc.units=2"], NetspecError, "the data has 3 classes, but the network has 2 outputs"),
        (
            ["train.schedule={type: plateau}", "data.source.val_images=0"],
            NetspecError,
            "there are no validation images",
        ),
        (["train.epochs=0"], SpecError, "'train.epochs' must be"),
        (["data.source={type: folder, path: /nowhere}"], NetspecError, "no such folder"),
    ],
)
def test_what_cannot_be_trained_leaves_no_directory(spec, sets, error, message):
    with pytest.raises(error, match=message):
        train(spec, overrides=sets)
    assert not (spec.parent / "runs").exists()


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_layer(spec):
    events: list = []
    with pytest.raises(NetspecError) as caught:
        train(spec, overrides=["train.sgd.learning_rate=1.0e+30"], listener=events.append)
    assert "iteration 2 (epoch 1): the loss is nan; the first numbers that are not finite" in str(caught.value)
    assert "come from the forward pass of 'fc' on left; the step changed nothing" in str(caught.value)
    finished = told(events, RunFinished)[0]
    assert (finished.status, finished.message) == ("failed", str(caught.value))
    result, _ = train(spec, resume="latest", overrides=["train.sgd.learning_rate=0.01"])
    assert result.status == "finished"


def test_a_full_disk_is_one_message_and_leaves_the_last_checkpoint_whole(spec, monkeypatch):
    events: list = []
    real = os.write

    def listen(event):
        events.append(event)
        if isinstance(event, CheckpointWritten):
            monkeypatch.setattr(storage.os, "write", full)

    def full(handle, data):
        raise OSError(28, "No space left on device")

    with pytest.raises(NetspecError, match="the disk is full; free some space"):
        train(spec, listener=listen)
    monkeypatch.setattr(storage.os, "write", real)
    assert told(events, RunFinished)[-1].status == "failed"
    result, _ = train(spec, resume="latest")
    assert same(final(result), final(train(spec, out=spec.parent / "others")[0]))


@contextlib.contextmanager
def _process(code: str, *args: str) -> Iterator[subprocess.Popen]:
    """Python with that code; it is gone when the block is left."""
    with subprocess.Popen([sys.executable, "-c", code, *args], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _start(spec: Path, **options) -> contextlib.AbstractContextManager[subprocess.Popen]:
    """A run in a process of its own; it ends with the result's exit code."""
    code = "import sys; from netspec.api import run; sys.exit(run(sys.argv[1], **eval(sys.argv[2])).exit_code)"
    given = {"out": str(spec.parent / "runs"), "devices": "cpu:0,cpu:1", **options}
    return _process(code, str(spec), repr(given))


def _wait_for_training(spec: Path, process: subprocess.Popen) -> Path:
    """The run directory, as soon as there is an iteration in its metrics."""
    for _ in range(600):
        for path in spec.parent.glob("runs/tiny/*/metrics.jsonl"):
            if '"iteration", ' in path.read_text():
                return path.parent
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("no iteration in half a minute")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_process_with_a_checkpoint(spec, number, code):
    with _start(spec, epochs=100_000, workers=1) as process:
        folder = _wait_for_training(spec, process)
        with pytest.raises(NetspecError, match=f"process {process.pid} is training here"):
            train(None, resume=str(folder), out=spec.parent)
        process.send_signal(number)
        assert process.wait(30) == code
    summary = runs(spec.parent / "runs")[0]
    assert summary.status == "interrupted"
    assert checkpoint.read(listed(folder / "checkpoints")[0]).record.iteration == summary.iteration


def test_a_second_interrupt_stops_at_once(spec):
    slow = "import time; from netspec.runners import saving; saving.checkpoint.write = lambda *_: time.sleep(60)\n"
    code = (
        slow + "import sys; from netspec.api import run; run(sys.argv[1], out=sys.argv[2], devices='cpu', epochs=99999)"
    )
    with _process(code, str(spec), str(spec.parent / "runs")) as process:
        _wait_for_training(spec, process)
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.wait(10)
        assert "KeyboardInterrupt" in process.stderr.read()


def test_a_trace_shows_steps_and_data(spec):
    train(spec, iterations=2, trace=spec.parent / "trace.json")
    events = json.loads((spec.parent / "trace.json").read_text())["traceEvents"]
    kinds = {event.get("cat") for event in events}
    assert {"forward", "backward", "transfer", "update", "data"} <= kinds
    lanes = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert {"left", "right", "training data", "validation data", "checkpoints"} <= lanes


def test_tensorboard_files(spec):
    pytest.importorskip("tensorboardX", reason="the extra netspec[tensorboard] is not installed")
    result, _ = train(spec, iterations=2, tensorboard=True)
    assert next((result.folder / "tensorboard").glob("events.out.tfevents.*")).stat().st_size > 200


def test_tensorboard_without_its_library_is_one_line(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(NetspecError, match=r"pip install 'netspec\[tensorboard\]'"):
        train(spec, tensorboard=True)
    assert not (spec.parent / "runs").exists()


def test_what_does_not_fit_is_told_before_it_is_allocated(spec, monkeypatch):
    monkeypatch.setattr("netspec.runners.memory.host_memory", lambda: 100_000)
    message = r"the plan takes .* KiB of memory on this machine \(.* for 'left', .* for 'right'\), which has 97.7 KiB; "
    with pytest.raises(NetspecError, match=message + "lower train.batch"):
        train(spec)
    assert not (spec.parent / "runs").exists()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_a_killed_run_leaves_no_process(spec):
    with _start(spec, epochs=100_000, workers=2) as process:
        _wait_for_training(spec, process)
        workers = _children(process.pid)
        assert len(workers) == 4  # two for each of training and validation images
        process.kill()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_a_killed_worker_is_one_message_and_a_checkpoint(spec):
    with _start(spec, epochs=100_000, workers=1) as process:
        folder = _wait_for_training(spec, process)
        for pid in _children(process.pid):
            os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
    assert "died, killed by SIGKILL" in errors.splitlines()[-1]
    summary = runs(spec.parent / "runs")[0]
    assert summary.status == "failed"
    assert checkpoint.read(listed(folder / "checkpoints")[0]).record.iteration == summary.iteration
