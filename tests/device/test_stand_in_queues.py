"""The stand-in driver's streams, events and graphs: its freedom in order, and what it refuses."""

from contextlib import contextmanager

import pytest
from stand_in.queues import (
    CAPTURED_EVENT,
    IMPLICIT,
    INVALIDATED,
    ISOLATION,
    MERGE,
    UNJOINED,
    UNSUPPORTED,
    DriverError,
    Event,
    Graph,
    Queues,
    Stream,
)

SEEDS = range(20)


def _queues(seed):
    made = Queues(seed)
    made.legacy[0] = Stream(0)
    return made


@pytest.fixture
def queues(request):
    return _queues(getattr(request, "param", 0))


def _stream(queues):
    stream = Stream(0)
    queues.streams[id(stream)] = stream
    return stream


@contextmanager
def _refused(code):
    with pytest.raises(DriverError) as caught:
        yield
    assert caught.value.code == code


def test_nothing_runs_before_it_is_waited_for(queues):
    ran, stream = [], _stream(queues)
    queues.enqueue(stream, lambda: ran.append(1))
    assert not ran
    queues.finish_stream(stream)
    assert ran == [1]


def test_a_stream_keeps_its_order_and_two_streams_have_none():
    def order(queues):
        ran, streams = [], [_stream(queues), _stream(queues)]
        for number in range(3):
            for name, stream in zip("ab", streams, strict=True):
                queues.enqueue(stream, lambda text=f"{name}{number}": ran.append(text))
        queues.finish_all()
        assert [one for one in ran if one[0] == "a"] == ["a0", "a1", "a2"]
        return tuple(ran)

    assert len({order(queues) for queues in map(_queues, SEEDS)}) > 5


@pytest.mark.parametrize("queues", SEEDS, indirect=True)
def test_an_event_orders_two_streams(queues):
    ran, one, two, event = [], _stream(queues), _stream(queues), Event(timing=False)
    queues.enqueue(one, lambda: ran.append("before"))
    queues.record(event, one)
    queues.wait(two, event)
    queues.enqueue(two, lambda: ran.append("after"))
    queues.finish_stream(two)
    assert ran == ["before", "after"]


@pytest.mark.parametrize("queues", SEEDS, indirect=True)
def test_the_default_stream_waits_for_all_and_all_for_it(queues):
    ran, stream = [], _stream(queues)
    queues.enqueue(stream, lambda: ran.append(1))
    queues.enqueue(queues.legacy[0], lambda: ran.append(2))
    queues.enqueue(stream, lambda: ran.append(3))
    queues.finish_all()
    assert ran == [1, 2, 3]


def _captured(queues, stream, ran):
    """A graph of four pieces of work, of which two are in another stream."""
    other, fork, join = _stream(queues), Event(False), Event(False)
    queues.begin(stream, 2)
    queues.enqueue(stream, lambda: ran.append("first"))
    queues.record(fork, stream)
    queues.wait(other, fork)
    queues.enqueue(other, lambda: ran.append("other"))
    queues.enqueue(stream, lambda: ran.append("own"))
    queues.record(join, other)
    queues.wait(stream, join)
    queues.enqueue(stream, lambda: ran.append("last"))
    return queues.end(stream)


def test_a_graph_keeps_its_order_and_no_more():
    def middle(queues):
        ran, stream = [], _stream(queues)
        graph = _captured(queues, stream, ran)
        assert not ran
        for _ in range(2):
            queues.launch(graph, stream)
        queues.finish_stream(stream)
        assert ran[0] == ran[4] == "first" and ran[3] == ran[7] == "last"
        return ran[1], ran[2]

    assert len({middle(queues) for queues in map(_queues, SEEDS)}) == 2


@pytest.mark.parametrize("queues", SEEDS, indirect=True)
def test_launches_of_one_graph_follow_each_other_in_any_streams(queues):
    ran, one, two = [], _stream(queues), _stream(queues)
    graph = _captured(queues, one, ran)
    queues.launch(graph, one)
    queues.launch(graph, two)
    queues.finish_all()
    assert ran[3] == ran[7] == "last"


def test_what_a_capture_forbids(queues):
    stream, other, event = _stream(queues), _stream(queues), Event(False)
    queues.record(event, other)
    queues.finish_stream(other)
    for code, forbidden in (
        (UNSUPPORTED, lambda: queues.finish_stream(stream)),
        (UNSUPPORTED, queues.finish_all),
        (IMPLICIT, lambda: queues.enqueue(queues.legacy[0], None)),
        (ISOLATION, lambda: queues.wait(stream, event)),
    ):
        queues.begin(stream, 0)
        with _refused(code):
            forbidden()
        with _refused(INVALIDATED):
            queues.end(stream)


def test_allocation_spoils_a_capture_that_is_not_relaxed(queues):
    stream = _stream(queues)
    for mode, refused in ((0, True), (1, True), (2, False)):
        queues.begin(stream, mode)
        if refused:
            with _refused(UNSUPPORTED):
                queues.unsafe("memory is allocated")
            with _refused(INVALIDATED):
                queues.end(stream)
        else:
            queues.unsafe("memory is allocated")
            assert isinstance(queues.end(stream), Graph)


def test_streams_that_joined_must_be_waited_for(queues):
    stream, other, event = _stream(queues), _stream(queues), Event(False)
    queues.begin(stream, 2)
    queues.record(event, stream)
    queues.wait(other, event)
    queues.enqueue(other, None)
    with _refused(UNJOINED):
        queues.end(stream)
    assert other.capture is None
    with _refused(CAPTURED_EVENT):
        queues.asked(event)
    with _refused(CAPTURED_EVENT):
        queues.wait(other, event)


def test_two_captures_cannot_be_joined(queues):
    one, two, event = _stream(queues), _stream(queues), Event(False)
    queues.begin(one, 2)
    queues.begin(two, 2)
    queues.record(event, one)
    with _refused(MERGE):
        queues.wait(two, event)
