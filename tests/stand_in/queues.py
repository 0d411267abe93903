"""Streams, events and graphs as the driver's documentation has them, with all the freedom in order that it leaves.

Nothing runs when it is enqueued. Work runs when somebody waits for something: then operations that nothing holds back
any more are run in an order drawn by chance, or only those that the one waited for needs. So a dependency that was
forgotten shows as wrong numbers.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable

SUCCESS, INVALID_VALUE, NOT_READY = 0, 1, 600
UNSUPPORTED, INVALIDATED, MERGE, UNMATCHED, UNJOINED, ISOLATION, IMPLICIT, CAPTURED_EVENT = range(900, 908)
LAUNCH_FAILED = 719

Run = Callable[[], None]


class DriverError(Exception):
    """A call is refused with one of the driver's numbers; ``str`` says why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Operation:
    """Work that may run once all of ``after`` has."""

    def __init__(self, run: Run | None, after: Iterable[Operation] = ()) -> None:
        self.run, self.done, self.time = run, False, 0.0
        self.after = {one for one in after if not one.done}


class Node:
    """Work recorded by a capture."""

    def __init__(self, run: Run | None, after: Iterable[Node]) -> None:
        self.run, self.after = run, frozenset(after)


class Capture:
    """What is recorded from a stream and those that join it."""

    def __init__(self, origin: Stream, mode: int) -> None:
        self.origin, self.mode, self.valid = origin, mode, True
        self.nodes: list[Node] = []
        self.streams = {origin}

    def add(self, run: Run | None, after: Iterable[Node]) -> Node:
        """A new node."""
        self.nodes.append(Node(run, after))
        return self.nodes[-1]


class Stream:
    """A queue: ``last`` is its latest operation, ``tail`` what the next recorded node follows."""

    def __init__(self, device: int, blocking: bool = True) -> None:
        self.device, self.blocking = device, blocking
        self.last: Operation | None = None
        self.capture: Capture | None = None
        self.tail: frozenset[Node] = frozenset()


class Event:
    """A place in a stream, or, recorded in a capture, a node."""

    def __init__(self, timing: bool) -> None:
        self.timing = timing
        self.operation: Operation | None = None
        self.captured: tuple[Capture, Node] | None = None


class Graph:
    """A captured graph, or one that can be launched: no two launches of it run at a time."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes, self.last = nodes, None


class Queues:
    """All streams of a process; ``seed`` draws the order of what may run in any order."""

    def __init__(self, seed: int = 0) -> None:
        self.pending: list[Operation] = []
        self.streams: dict[int, Stream] = {}
        self.legacy: dict[int, Stream] = {}
        self.draw = random.Random(seed)

    # What is enqueued -----------------------------------------------------------------------------------------------

    def enqueue(self, stream: Stream, run: Run | None) -> Operation | None:
        """Work at a stream's end; recorded, not enqueued, where the stream is captured."""
        if stream.capture is not None:
            self._check(stream.capture)
            stream.tail = frozenset([stream.capture.add(run, stream.tail)])
            return None
        if stream in self.legacy.values():
            before = self._for_legacy(stream)
        else:
            before = [stream.last, self.legacy[stream.device].last if stream.blocking else None]
        return self._push(stream, run, before)

    def _push(self, stream: Stream, run: Run | None, before: Iterable[Operation | None]) -> Operation:
        stream.last = Operation(run, [one for one in before if one is not None])
        self.pending.append(stream.last)
        return stream.last

    def _for_legacy(self, stream: Stream) -> list[Operation | None]:
        """The default stream waits for all blocking ones of its card, which no capture allows."""
        others = [one for one in self.streams.values() if one.blocking and one.device == stream.device]
        for one in others:
            if one.capture is not None:
                one.capture.valid = False
                raise DriverError(IMPLICIT, "the default stream waits for a stream that is being captured")
        return [stream.last, *(one.last for one in others)]

    def record(self, event: Event, stream: Stream) -> None:
        """Let an event stand for all in the stream."""
        if stream.capture is not None:
            self._check(stream.capture)
            node = stream.capture.add(None, stream.tail)
            stream.tail, event.captured, event.operation = frozenset([node]), (stream.capture, node), None
        else:
            event.captured, event.operation = None, self.enqueue(stream, None)

    def wait(self, stream: Stream, event: Event) -> None:
        """Hold a stream back; one that waits for a captured event joins the capture."""
        if event.captured is not None:
            self._join(stream, *event.captured)
        elif stream.capture is not None:
            if event.operation is not None:
                stream.capture.valid = False
                raise DriverError(ISOLATION, "a captured stream waits for an event recorded outside the capture")
        elif event.operation is not None:
            self._push(stream, None, [stream.last, event.operation])

    def _join(self, stream: Stream, capture: Capture, node: Node) -> None:
        if capture.origin.capture is not capture:
            raise DriverError(CAPTURED_EVENT, "an event recorded in a capture that has ended is waited for")
        self._check(capture)
        if stream.capture is None:
            stream.capture, stream.tail = capture, frozenset()
            capture.streams.add(stream)
        elif stream.capture is not capture:
            stream.capture.valid = capture.valid = False
            raise DriverError(MERGE, "two captures are joined")
        stream.tail |= {node}

    # Captures -------------------------------------------------------------------------------------------------------

    def begin(self, stream: Stream, mode: int) -> None:
        """Record instead of enqueueing."""
        if stream in self.legacy.values():
            raise DriverError(UNSUPPORTED, "the default stream cannot be captured")
        if stream.capture is not None:
            raise DriverError(901, "the stream is being captured already")
        stream.capture, stream.tail = Capture(stream, mode), frozenset()

    def end(self, stream: Stream) -> Graph:
        """What was recorded since; all that joined must have been waited for."""
        capture = stream.capture
        if capture is None or capture.origin is not stream:
            raise DriverError(UNMATCHED, "a capture is ended in another stream than it began in")
        reached: set[Node] = set()
        stack = list(stream.tail)
        while stack:
            node = stack.pop()
            if node not in reached:
                reached.add(node)
                stack += node.after
        loose = [one for one in capture.streams if not one.tail <= reached]
        for one in capture.streams:
            one.capture, one.tail = None, frozenset()
        if not capture.valid:
            raise DriverError(INVALIDATED, "something spoilt the capture")
        if loose:
            raise DriverError(UNJOINED, f"{len(loose)} streams that joined the capture were not waited for at its end")
        return Graph(capture.nodes)

    def unsafe(self, what: str) -> None:
        """A call that a capture in a mode other than relaxed forbids."""
        self._spoil(what, [one for one in self.streams.values() if one.capture and one.capture.mode < 2])

    def _spoil(self, what: str, streams: Iterable[Stream]) -> None:
        spoilt = [one.capture for one in streams if one.capture is not None]
        for capture in spoilt:
            capture.valid = False
        if spoilt:
            raise DriverError(UNSUPPORTED, f"{what} while a stream is being captured")

    def launch(self, graph: Graph, stream: Stream) -> None:
        """All of a graph as one piece of work of a stream."""
        if stream.capture is not None:
            raise DriverError(UNSUPPORTED, "graphs within graphs are not known here")
        begin = self.enqueue(stream, None)
        assert begin is not None
        if graph.last is not None and not graph.last.done:
            begin.after.add(graph.last)
        made: dict[Node, Operation] = {}
        for node in graph.nodes:
            made[node] = Operation(node.run, [begin, *(made[one] for one in node.after)])
        self.pending += made.values()
        graph.last = self._push(stream, None, [stream.last, *made.values()])

    def _check(self, capture: Capture) -> None:
        if not capture.valid:
            raise DriverError(INVALIDATED, "something spoilt the capture")

    # What runs ------------------------------------------------------------------------------------------------------

    def finish(self, operation: Operation | None) -> None:
        """Run until this has run; others too, or not, by chance."""
        if operation is None or operation.done:
            return
        wanted = self._needed(operation) if self.draw.random() < 0.5 else None
        while not operation.done:
            self._run(self.draw.choice(self._ready(wanted)))

    def finish_stream(self, stream: Stream) -> None:
        """Run all of a stream."""
        if stream.capture is not None:
            stream.capture.valid = False
            raise DriverError(UNSUPPORTED, "a stream that is being captured is waited for")
        self.finish(self.enqueue(stream, None))

    def finish_all(self) -> None:
        """Run everything."""
        self._spoil("all streams are waited for", self.streams.values())
        while self.pending:
            self._run(self.draw.choice(self._ready(None)))

    def asked(self, event: Event) -> bool:
        """Whether an event has come; asking lets some work run, as time would."""
        if event.captured is not None:
            raise DriverError(CAPTURED_EVENT, "an event recorded in a capture is asked for")
        for _ in range(self.draw.randrange(12)):
            if not self.pending:
                break
            self._run(self.draw.choice(self._ready(None)))
        return event.operation is None or event.operation.done

    def _needed(self, operation: Operation) -> set[Operation]:
        needed, stack = set(), [operation]
        while stack:
            one = stack.pop()
            if one not in needed:
                needed.add(one)
                stack += one.after
        return needed

    def _ready(self, wanted: set[Operation] | None) -> list[Operation]:
        return [one for one in self.pending if not one.after and (wanted is None or one in wanted)]

    def _run(self, one: Operation) -> None:
        self.pending.remove(one)
        try:
            if one.run is not None:
                one.run()
        finally:
            one.done, one.time = True, time.perf_counter()
            for other in self.pending:
                other.after.discard(one)
