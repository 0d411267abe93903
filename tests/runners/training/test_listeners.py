"""Listeners that fail or never return: told once, and training goes on, or ends in one message."""

import errno
import threading

import pytest
from training_runs import final, same, spec, told, train, whole

from netspec.errors import NetspecError
from netspec.events import IterationDone, Note, RunFinished
from netspec.machine.cleanup import on_exit
from netspec.rundir.directory import runs
from netspec.runners.training import listener_thread
from netspec.runners.training.journal import Journal
from netspec.runners.training.listener_thread import ListenerThread

__all__ = ["spec", "whole"]


def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def noted(folder):
    """The notes in a run's log."""
    return [line[21:] for line in (folder / "log.txt").read_text().splitlines()]


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits for a listener."""
    monkeypatch.setattr(listener_thread, "PATIENCE_S", 0.0)


@pytest.fixture
def gate():
    """Shut until the test is over, so that what waits for it hangs for as long as the test runs."""
    event = threading.Event()
    yield event
    event.set()


def test_a_disk_that_is_full_for_tensorboard_only_is_told_once_and_the_run_goes_on(spec, whole, monkeypatch):
    writer = pytest.importorskip("tensorboardX.record_writer", reason="tensorboardX is not installed").RecordWriter
    real, written = writer.write, []

    def write(self, data):
        written.append(data)
        return full() if len(written) > 4 else real(self, data)

    monkeypatch.setattr(writer, "write", write)
    result, events = train(spec, tensorboard=True, out=spec.parent / "others")
    said = "tensorboard failed and hears no more: No space left on device"
    assert (noted(result.folder).count(said), told(events, Note).count(Note(said))) == (1, 1)
    assert len(written) == 5
    assert same(final(result), final(whole))


def test_tensorboard_that_cannot_begin_is_told_before_training(spec, monkeypatch):
    library = pytest.importorskip("tensorboardX.record_writer", reason="tensorboardX is not installed")
    monkeypatch.setattr(library.RecordWriter, "flush", full)
    with pytest.raises(NetspecError, match=r"cannot write .*tensorboard/events\.out\S+: the disk is full"):
        train(spec, tensorboard=True)


def test_a_listener_that_never_returns_does_not_block_training(spec, whole, impatient, gate):
    heard = []

    def hang(event):
        heard.append(event)
        if isinstance(event, IterationDone):
            gate.wait()

    result, _ = train(spec, listener=hang, out=spec.parent / "others")
    assert (result.status, len([event for event in heard if isinstance(event, IterationDone)])) == ("finished", 1)
    late = [line for line in noted(result.folder) if "has not returned from an event" in line]
    assert len(late) == 1 and late[0].startswith("the listener has not returned")
    assert same(final(result), final(whole))


def test_a_listener_that_comes_back_hears_the_last_events(monkeypatch, impatient, gate):
    monkeypatch.setattr(listener_thread, "MOST_WAITING", 3)
    heard, entered = [], threading.Event()

    def slow(event):
        heard.append(event)
        entered.set()
        gate.wait()

    out = ListenerThread(slow, "slow")
    out.hear(0)
    assert entered.wait(60)
    for event in range(1, 6):
        out.hear(event)
    assert (heard, out.late, out.lost) == ([0], True, 2)
    gate.set()
    monkeypatch.setattr(listener_thread, "PATIENCE_S", 60.0)
    out.close()
    assert heard == [0, 3, 4, 5]


def test_training_waits_for_a_listener_that_returns():
    """So that a listener sees the run as it was at the event."""
    state, seen = 0, []
    out = ListenerThread(lambda event: seen.append((event, state)), "attentive")
    for state in range(100):
        out.hear(state)
    out.close()
    assert seen == [(n, n) for n in range(100)]


def test_a_fault_in_a_listener_is_told_once_and_ends_it_only(spec, whole):
    heard = []

    def fail(event):
        heard.append(event)
        if isinstance(event, IterationDone) and event.iteration == 4:
            raise ValueError("of its own")

    said = r"the listener failed and hears no more: ValueError: of its own"
    with pytest.warns(RuntimeWarning, match=said):
        result, _ = train(spec, listener=fail, out=spec.parent / "others")
    assert heard[-1].iteration == 4 and noted(result.folder).count(said) == 1
    assert same(final(result), final(whole))


@pytest.mark.parametrize("error", [NetspecError("enough"), KeyboardInterrupt("enough")])
def test_a_listener_ends_the_run_in_one_message(spec, whole, error):
    def stop(event):
        if isinstance(event, IterationDone) and event.iteration == 7:
            raise error

    with pytest.raises(type(error), match="enough"):
        train(spec, listener=stop, out=spec.parent / "others")
    assert runs(spec.parent / "others")[0].status == ("failed" if isinstance(error, NetspecError) else "interrupted")
    result, _ = train(spec, resume="latest", out=spec.parent / "others")
    assert same(final(result), final(whole))


def test_the_last_words_are_said_to_all_whatever_one_of_them_does():
    heard = []
    journal = Journal(full)
    journal.also(heard.append, "another")
    journal.last_words(RunFinished("failed", "x", 1, 1, 1.0))
    journal.close()
    assert [type(event) for event in heard] == [RunFinished]


def test_without_a_thread_to_spare_the_training_thread_tells(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    heard, ended = [], []
    journal = Journal(lambda event: heard.append((event, threading.current_thread())))
    journal.also(full, "another", lambda: ended.append(True))
    journal(Note("one"))
    journal.close()
    said = [Note("one"), Note("another failed and hears no more: No space left on device")]
    assert heard == [(note, threading.current_thread()) for note in said]
    assert ended == [True]


def test_what_fails_at_the_end_does_not_replace_what_failed_before():
    def fail(event):
        raise ValueError("of its own")

    journal = Journal(fail)
    journal(Note("one"))
    with pytest.raises(KeyError), on_exit(journal.close):  # where warnings are errors
        raise KeyError("the run")
