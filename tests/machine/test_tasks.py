"""What is told of tasks: how far they are, to whom, and how often."""

from __future__ import annotations

import threading

import pytest

from netspec.events import Event, TaskProgress
from netspec.machine.tasks import counted, hearing, task


def test_a_task_tells_its_beginning_its_parts_and_its_end() -> None:
    heard: list[Event] = []
    times = iter((0.0, 0.05, 0.1, 0.1, 0.15, 0.21, 0.21))  # it is asked twice for the time where it tells
    with hearing(heard.append), task("images", 10, "a note", clock=lambda: next(times)) as tell:
        for _ in range(4):
            tell(2)
    common = ("images", 10, "a note", True)
    events = [(event.what, event.total, event.note, event.even, event.done, event.over) for event in told(heard)]
    assert events == [(*common, 0, False), (*common, 4, False), (*common, 8, False), (*common, 8, True)]


def told(heard: list[Event]) -> list[TaskProgress]:
    return [event for event in heard if isinstance(event, TaskProgress)]


def test_the_end_is_told_of_a_task_that_fails_too() -> None:
    heard: list[Event] = []
    with pytest.raises(ValueError), hearing(heard.append), task("images", 10):
        raise ValueError
    assert [event.over for event in told(heard)] == [False, True]


def test_a_listener_that_fails_at_the_end_of_a_task_does_not_hide_why_it_failed() -> None:
    def listener(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.over:
            raise OSError

    with pytest.raises(ValueError), hearing(listener), task("images", 10):
        raise ValueError
    with pytest.raises(OSError), hearing(listener), task("images", 10):
        pass


def test_the_innermost_listener_hears_and_none_leaves_it_to_the_one_around() -> None:
    outer: list[Event] = []
    inner: list[Event] = []
    with hearing(outer.append):
        with hearing(inner.append), task("one"):
            pass
        with hearing(None), task("two"):
            pass
    assert {event.what for event in told(inner)} == {"one"} and {event.what for event in told(outer)} == {"two"}


def test_where_nobody_listens_nothing_is_told() -> None:
    assert list(counted("images", [1, 2, 3])) == [1, 2, 3]
    with task("images") as tell:
        tell(1)


def test_other_threads_are_not_heard() -> None:
    heard: list[Event] = []
    with hearing(heard.append):
        thread = threading.Thread(target=lambda: list(counted("images", [1])))
        thread.start()
        thread.join()
    assert not heard


def test_things_that_have_a_length_are_counted_of_so_many() -> None:
    heard: list[Event] = []
    with hearing(heard.append):
        assert list(counted("images", {1: 2}.items())) == [(1, 2)]
        assert list(counted("members", iter([1, 2]))) == [1, 2]
    assert [(event.what, event.done, event.total) for event in told(heard) if event.over] == [
        ("images", 1, 1),
        ("members", 2, 0),
    ]
