"""Saving beside the training: which checkpoints are kept, and what happens when one cannot be written."""

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
from nets import BATCH, RATES, TWO_TOWERS, batch, network, same_bits
from records import RECORD

from netspec.errors import NetspecError
from netspec.runners.execution.session import Session
from netspec.runners.training import checkpoint
from netspec.runners.training.checkpoint import Evaluated, Record
from netspec.runners.training.saver import Saver, listed, newest_whole, path_of, ranked, set_aside
from netspec.store.write_gate import Gate

TENSORS = {"w": np.arange(6, dtype=np.float32)}


class Store:
    """Tensors that nobody renews."""

    def __init__(self, copy=lambda: TENSORS):
        self.gate, self.copy = Gate(), copy

    def begin_copy(self):
        return self.copy


def saver_in(folder, store=None):
    return Saver(folder, store or Store())


def at(iteration: int, error: float | None) -> Record:
    evaluated = None if error is None else Evaluated(iteration, error, {"top1": error})
    return replace(RECORD, iteration=iteration, evaluated=evaluated)


def best(folder):
    return next(iter(ranked(folder)), None)


def save(saver: Saver, iteration: int, error: float | None = None):
    assert not saver.save(at(iteration, error))
    return saver.wait()[0]


def iterations(folder):
    return [int(path.stem.split("-")[1]) for path in listed(folder)]


def test_the_last_three_and_the_best_are_kept(tmp_path):
    saver = saver_in(tmp_path)
    for iteration, error in [(1, 0.9), (2, 0.2), (3, 0.5), (4, None), (5, 0.4), (6, 0.3)]:
        event = save(saver, iteration, error)
        assert event.best == (iteration in (1, 2))
        assert event.path == str(path_of(tmp_path, iteration))
    assert iterations(tmp_path) == [6, 5, 4, 2]
    again = saver_in(tmp_path)  # another process knows of the best too
    save(again, 7, 0.1)
    assert iterations(tmp_path) == [7, 6, 5]
    assert ranked(tmp_path)[0].iteration == 7


def test_without_evaluations_the_newest_is_the_best(tmp_path):
    saver = saver_in(tmp_path)
    assert [save(saver, iteration).best for iteration in (1, 2, 3, 4)] == [False] * 4
    assert iterations(tmp_path) == [4, 3, 2]
    assert ranked(tmp_path)[0].iteration == 4
    assert ranked(tmp_path / "none") == []


def test_a_loss_decides_where_there_is_no_top1(tmp_path):
    saver = saver_in(tmp_path)
    record = replace(RECORD, evaluated=Evaluated(12, 0.7, {}))
    saver.save(record)
    assert saver.wait()[0].best
    assert ranked(tmp_path)[0].score == 0.7


def test_what_goes_wrong_in_the_thread_is_raised(tmp_path, monkeypatch):
    saver = saver_in(tmp_path)
    save(saver, 1)

    def fail(path, checkpoint):
        raise NetspecError("the disk is full")

    monkeypatch.setattr(checkpoint, "write", fail)
    saver.save(at(2, None))
    with pytest.raises(NetspecError, match="the disk is full"):
        saver.wait()
    assert saver.poll() == []
    assert iterations(tmp_path) == [1]


def test_damaged_ones_are_named_and_set_aside(tmp_path):
    saver = saver_in(tmp_path)
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


def test_a_loss_that_is_no_number_is_never_the_best(tmp_path):
    saver = saver_in(tmp_path)
    for iteration, loss in [(1, float("nan")), (2, 0.7), (3, 0.8)]:
        saver.save(replace(RECORD, iteration=iteration, evaluated=Evaluated(iteration, loss, {"top1": 0.9})))
        (event,) = saver.wait()
        assert event.best == math.isfinite(loss)
    assert ranked(tmp_path)[0].iteration == 3


def test_no_memory_for_a_copy_that_is_made_at_once_is_told(tmp_path):
    class Full(Store):
        def begin_copy(self):
            raise MemoryError("Unable to allocate 465. MiB")

    with pytest.raises(NetspecError, match="no memory for a copy of the network"):
        saver_in(tmp_path, Full()).save(RECORD)


def test_no_memory_for_a_copy_is_told(tmp_path):
    def none():
        raise MemoryError("Unable to allocate 465. MiB")

    saver = saver_in(tmp_path, Store(none))
    saver.save(at(1, None))
    with pytest.raises(NetspecError, match=r"no memory for a copy of the network, .* \(Unable to allocate 465. MiB\)"):
        saver.wait()


def test_without_a_thread_to_spare_it_is_written_all_the_same(tmp_path, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert save(saver_in(tmp_path), 1).iteration == 1


def test_training_goes_on_while_tensors_are_copied_and_waits_before_it_renews_them():
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",)) as session:
        before, steps = session.store.tensors(), session.bound("train").steps
        copy = session.store.begin_copy()
        thread = threading.Thread(target=session.train, args=(batch(), 0, BATCH, RATES))
        thread.start()
        thread.join(1)
        assert thread.is_alive()
        same_bits(copy(), before)
        thread.join()
        after = session.store.tensors()
        assert any(before[name].tobytes() != after[name].tobytes() for name in before)
        assert session.store.gate.waited > 0.5
        assert not any(one.step.op == "update" for one in steps[: len(steps) // 2])


def test_devices_that_one_thread_may_use_are_copied_at_once(monkeypatch):
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",)) as session:
        for device in session.devices.values():
            monkeypatch.setattr(device, "read_beside", False)
        before = session.store.tensors()
        copy = session.store.begin_copy()
        session.train(batch(), 0, BATCH, RATES)
        same_bits(copy(), before)
