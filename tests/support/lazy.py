"""Devices that enqueue, as GPUs do, with CPU kernels: what is enqueued is done late and in any order that is allowed.

Streams, events and captures keep CUDA's rules (CUDA programming guide, "CUDA Graphs": creating a graph using stream
capture); what breaks one raises NetspecError. So a missing wait shows as other bits, and a wrong capture as an error.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from netspec.device.cpu.device import CpuDevice
from netspec.errors import NetspecError

Stream = tuple[Any, str]


class Event:
    """Stands for a moment in a stream, or in the capture in which it was last recorded."""

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self.captured: tuple[Capture, frozenset[int]] | None = None


@dataclass(eq=False)
class Mark:
    """Work enqueued: a call, nothing (the place of an event), or the wait for another mark."""

    call: Callable[[], None] | None = None
    after: Mark | None = None
    done: bool = False
    at: int = 0


_NOTHING = Mark(done=True)


@dataclass(eq=False)
class Capture:
    """A graph in the making: nodes with those that must come before, and how far each stream has come."""

    origin: Stream
    nodes: list[tuple[Callable[[], None], frozenset[int]]] = field(default_factory=list)
    tips: dict[Stream, frozenset[int]] = field(default_factory=dict)
    ended: bool = False


class World:
    """All streams of all devices."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.queues: dict[Stream, deque[Mark]] = defaultdict(deque)
        self.capture: Capture | None = None
        self.clock, self.launches, self.stuck = 0, 0, False
        self.hosts: list[str] = []
        self.slow: set[Stream] = set()

    def enqueue(self, stream: Stream, call: Callable[[], None]) -> None:
        if self.capture and stream in self.capture.tips:
            self.capture.nodes.append((call, self.capture.tips[stream]))
            self.capture.tips[stream] = frozenset([len(self.capture.nodes) - 1])
        else:
            self.queues[stream].append(Mark(call))

    def record(self, stream: Stream, event: Event) -> None:
        if self.capture and stream in self.capture.tips:
            event.mark, event.captured = None, (self.capture, self.capture.tips[stream])
        else:
            event.captured, event.mark = None, Mark()
            self.queues[stream].append(event.mark)

    def wait(self, stream: Stream, event: Event) -> None:
        if event.captured and not event.captured[0].ended:
            capture, tips = event.captured
            capture.tips[stream] = capture.tips.get(stream, frozenset()) | tips
        elif event.captured:
            raise NetspecError("CUDA_ERROR_CAPTURED_EVENT")
        elif self.capture and stream in self.capture.tips:
            raise NetspecError("CUDA_ERROR_STREAM_CAPTURE_ISOLATION")
        elif event.mark:
            self.queues[stream].append(Mark(after=event.mark))

    def begin(self, stream: Stream) -> None:
        self.refuse("a second capture")
        self.capture = Capture(stream, tips={stream: frozenset()})

    def end(self, stream: Stream) -> Capture:
        capture, self.capture = self.capture, None
        assert capture is not None and capture.origin == stream
        capture.ended = True
        joined, todo = set(), list(capture.tips[stream])
        while todo:
            node = todo.pop()
            joined.add(node)
            todo += capture.nodes[node][1] - joined
        if any(tips - joined for tips in capture.tips.values()):
            raise NetspecError("CUDA_ERROR_STREAM_CAPTURE_UNJOINED")
        return capture

    def launch(self, stream: Stream, graph: Capture) -> None:
        """The graph's nodes in some order that their edges allow, with other streams' work between them."""
        self.launches += 1
        done: set[int] = set()
        left = set(range(len(graph.nodes)))
        while left:
            node = self.random.choice([n for n in left if graph.nodes[n][1] <= done])
            left.remove(node)
            done.add(node)
            self.queues[stream].append(Mark(graph.nodes[node][0]))

    def refuse(self, what: str) -> None:
        if self.capture:
            raise NetspecError(f"{what} during a capture: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")

    def step(self) -> bool:
        """Do one piece of work that may be done; False where there is none. Some streams lag behind for a while."""
        if self.random.random() < 0.03:
            self.slow = {stream for stream in self.queues if self.random.random() < 0.5}
        ready = [stream for stream, queue in self.queues.items() if queue and (queue[0].after or _NOTHING).done]
        if not ready or self.stuck:
            return False
        quick = [stream for stream in ready if stream not in self.slow]
        mark = self.queues[self.random.choice(quick or ready)].popleft()
        if mark.call:
            mark.call()
        self.clock += 1
        mark.done, mark.at = True, self.clock
        return True

    def reached(self, event: Event) -> bool:
        if event.captured:
            raise NetspecError("CUDA_ERROR_CAPTURED_EVENT")
        for _ in range(self.random.randrange(20)):
            self.step()
        return event.mark is None or event.mark.done

    def drain(self) -> None:
        while self.step():
            pass
        assert not any(self.queues.values()), "work waits for what never comes"


class LazyDevice(CpuDevice):
    """A CPU device behind streams."""

    enqueues = True
    read_beside = False
    world: World

    def bind(self, passes: Any, arrays: Any, queue: Any = "compute") -> Callable[[], None]:
        call = super().bind(passes, arrays, queue)
        return lambda: self.world.enqueue((self, queue), call)

    def copier(self, target: Any, source: Any, source_device: Any, queue: Any) -> Callable[[], None]:
        call = super().copier(target, source, source_device, queue)
        return lambda: self.world.enqueue((self, queue), call)

    def upload(self, array: Any, values: Any) -> None:
        self.synchronise()
        super().upload(array, values)

    def download(self, array: Any, into: Any = None) -> Any:
        self.world.hosts.append("download")
        self.synchronise()
        return super().download(array, into)

    def lend(self, call: Callable[[Any], None], queue: Any) -> Callable[[], None]:
        return lambda: call((self, queue))

    def event(self, timing: bool = False) -> Event:
        return Event()

    def record(self, event: Event, queue: Any) -> None:
        self.world.record((self, queue), event)

    def wait(self, event: Event, queue: Any) -> None:
        self.world.wait((self, queue), event)

    def reached(self, event: Event) -> bool:
        return self.world.reached(event)

    def seconds(self, first: Event, last: Event) -> float:
        assert first.mark and last.mark and last.mark.done
        return (last.mark.at - first.mark.at) * 1e-6

    def synchronise(self) -> None:
        self.world.refuse("a wait of the host")
        self.world.drain()

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        stream = (self, "compute")
        self.world.begin(stream)
        try:
            call()
        finally:
            graph = self.world.end(stream)
        return lambda: self.world.launch(stream, graph)


def lazy(world: World) -> Callable[[Sequence[str]], list[LazyDevice]]:
    """An opener of lazy devices for a Session."""

    def opener(names: Sequence[str]) -> list[LazyDevice]:
        devices = [LazyDevice(int(name.rpartition(":")[2]), 1) for name in names]
        for device in devices:
            device.world = world
        return devices

    return opener
