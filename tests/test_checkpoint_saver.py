"""Saving beside the training: which checkpoints are kept, and what happens when one cannot be written."""

from dataclasses import replace

import numpy as np
import pytest
from test_checkpoint_file import RECORD

from netspec.errors import NetspecError
from netspec.runners import saving
from netspec.runners.checkpoint import Checkpoint, Evaluated
from netspec.runners.saving import Saver, best, listed, newest_whole, path_of, set_aside

TENSORS = {"w": np.arange(6, dtype=np.float32)}


def made(iteration: int, error: float | None) -> Checkpoint:
    evaluated = None if error is None else Evaluated(iteration, error, {"top1": error})
    return Checkpoint(replace(RECORD, iteration=iteration, evaluated=evaluated), TENSORS)


def save(saver: Saver, iteration: int, error: float | None = None):
    events = saver.save(lambda: made(iteration, error))
    assert not events
    return saver.wait()[0]


def iterations(folder):
    return [int(path.stem.split("-")[1]) for path in listed(folder)]


def test_the_last_three_and_the_best_are_kept(tmp_path):
    saver = Saver(tmp_path)
    for iteration, error in [(1, 0.9), (2, 0.2), (3, 0.5), (4, None), (5, 0.4), (6, 0.3)]:
        event = save(saver, iteration, error)
        assert event.best == (iteration in (1, 2))
        assert event.path == str(path_of(tmp_path, iteration))
    assert iterations(tmp_path) == [6, 5, 4, 2]
    again = Saver(tmp_path)  # another process knows of the best too
    save(again, 7, 0.1)
    assert iterations(tmp_path) == [7, 6, 5]
    assert best(tmp_path).iteration == 7


def test_without_evaluations_the_newest_is_the_best(tmp_path):
    saver = Saver(tmp_path)
    assert [save(saver, iteration).best for iteration in (1, 2, 3, 4)] == [False] * 4
    assert iterations(tmp_path) == [4, 3, 2]
    assert best(tmp_path).iteration == 4
    assert best(tmp_path / "none") is None


def test_a_loss_decides_where_there_is_no_top1(tmp_path):
    saver = Saver(tmp_path)
    record = replace(RECORD, evaluated=Evaluated(12, 0.7, {}))
    saver.save(lambda: Checkpoint(record, TENSORS))
    assert saver.wait()[0].best
    assert best(tmp_path).score == 0.7


def test_what_goes_wrong_in_the_thread_is_raised(tmp_path, monkeypatch):
    saver = Saver(tmp_path)
    save(saver, 1)

    def fail(path, checkpoint):
        raise NetspecError("the disk is full")

    monkeypatch.setattr(saving.checkpoint, "write", fail)
    saver.save(lambda: made(2, None))
    with pytest.raises(NetspecError, match="the disk is full"):
        saver.wait()
    assert saver.poll() == []
    assert iterations(tmp_path) == [1]


def test_damaged_ones_are_named_and_set_aside(tmp_path):
    saver = Saver(tmp_path)
    for iteration in (1, 2, 3):
        save(saver, iteration)
    path_of(tmp_path, 3).write_bytes(b"")
    data = path_of(tmp_path, 2).read_bytes()
    path_of(tmp_path, 2).write_bytes(data[:-1] + b"?")
    found, damaged = newest_whole(tmp_path)
    assert found.record.iteration == 1
    assert [error.path for error in damaged] == [path_of(tmp_path, 3), path_of(tmp_path, 2)]
    notes = [note.text for note in set_aside(damaged)]
    assert "the content of w is not what was written; set aside as" in notes[1]
    assert iterations(tmp_path) == [1]
