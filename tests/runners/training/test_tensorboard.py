"""TensorBoard's event files: records as TensorFlow writes them."""

import math
import struct
import sys

import pytest
from training_runs import spec, train

from netspec.callbacks import make_callback
from netspec.errors import NetspecError
from netspec.events import EvaluationDone, IterationDone, Note

__all__ = ["spec"]
event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2", reason="tensorboardX is not installed")


def events(folder):
    """Each event of the only file, one a record: its length, a checksum, the event, a checksum."""
    (path,) = (folder / "tensorboard").glob("events.out.tfevents.*")
    data = path.read_bytes()
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        yield event_pb2.Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]


def scalars(event):
    return {value.tag: value.simple_value for value in event.summary.value}


def begun(folder, iteration):
    board = make_callback({"type": "tensorboard"})
    board.check()
    board.begin(folder, iteration)
    return board


def test_scalars_by_iteration(tmp_path):
    board = begun(tmp_path, 0)
    board(Note("nothing to draw"))
    board(IterationDone(1, 300, 1.5, {"top1": 0.25}, 0.125, 1e60, 0.5, 0.1))
    board(EvaluationDone(1, 300, "val", math.nan, {"top1": 0.75}, 10, 1.0))
    board.close()
    version, iteration, evaluation = events(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert iteration.step == evaluation.step == 300
    expected = {"loss": 1.5, "top1": 0.25, "rate": 0.125, "images_per_second": math.inf, "waited": 0.5}
    assert scalars(iteration) == {f"train/{name}": value for name, value in expected.items()}
    assert math.isnan(scalars(evaluation)["val/loss"]) and scalars(evaluation)["val/top1"] == 0.75


def test_what_lies_beyond_a_resumptions_start_is_void(tmp_path):
    begun(tmp_path, 299).close()
    _, session = events(tmp_path)
    assert (session.step, session.session_log.status) == (300, event_pb2.SessionLog.START)


def test_a_run_writes_each_iteration_and_evaluation(spec):
    result, _ = train(spec, iterations=7, tensorboard=True)
    found = [(event.step, *scalars(event)) for event in list(events(result.folder))[1:]]
    assert [each[0] for each in found] == [1, 2, 3, 4, 5, 5, 6, 7, 7]
    assert all("train/loss" in each or "val/loss" in each for each in found)


def test_without_the_library_the_command_that_brings_it_is_named_before_a_run_begins(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(NetspecError, match=r"pip install 'netspec\[tensorboard\]'"):
        train(spec, tensorboard=True)
    assert not (spec.parent / "runs").exists()
