"""Overlap on GPUs: one thread enqueues all steps; streams run them, events order them across queues and devices.

From the second iteration on the host does not enqueue steps: the whole iteration, all devices' streams and what they
hand to the host, is captured once as a graph and replayed by one call; where processes meet, each segment between two
exchanges is (see segments.py), and the host waits for what it is to move. Images come up beside it: each of two sets of
input buffers takes a batch while the iteration on the other runs, so there are two graphs, used in turn. Each has its
own places on the host too, so that the next iteration may be enqueued before the host has read what came of this one:
devices go from one to the next without waiting for it.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from netspec.device.base import Device, Event, Lane
from netspec.device.dtypes import widened
from netspec.errors import NetspecError
from netspec.planning.identities import BufferKey, StepKey
from netspec.runners.execution.base import Counters, Runner
from netspec.runners.execution.bound import BoundProgram, BoundStep, Host
from netspec.runners.execution.net_calls import NetCall
from netspec.runners.execution.results import Results
from netspec.runners.execution.segments import Begin, End, Item, NetEvents, Part, Segment, cut
from netspec.runners.execution.serial import step_failed
from netspec.runners.execution.trace import Trace

_SPIN_S = 0.02
"""So long the host asks again at once; an iteration that takes longer can spare a half percent of its time."""
_GRACE_S = 10.0
"""How long an upload that nobody wants any more may keep a device from being closed."""


class StreamRunner(Runner):
    """Starts an iteration and waits for its end; with a trace, which shows the host's enqueueing, nothing is captured.

    Waits no longer than ``watchdog`` seconds, then ends the run with a message that names what has not ended.
    """

    ahead = True

    def __init__(self, bound: BoundProgram, trace: Trace | None = None, watchdog: float = 300.0) -> None:
        super().__init__(bound)
        self.trace, self.watchdog = trace, watchdog
        self.devices = tuple(dict.fromkeys(bound.devices.values()))
        self._origin = self.devices[0]
        self._sides = tuple(_Side(one, self._origin) for one in (bound, bound.twin()))
        self._lanes = self._used_lanes()
        self._forked = self._origin.event()
        self._joined = {lane: lane[0].event() for lane in self._lanes[1:]}
        fed = dict.fromkeys(bound.devices[one.step.device] for one in self._sides[0].uploads)
        self._uploaded = {device: device.event() for device in fed}
        self._step_events = self._make_step_events()
        begins = (part for part in self._sides[0].parts if isinstance(part, Begin))
        self._net_events = {part.net: NetEvents(part.net) for part in begins}
        self._made = self._origin.event()
        self._segments = [segment for side in self._sides for segment in side.segments]
        for segment in self._segments:
            segment.items = self._items(segment)
        self._staged: _Side | None = None
        self._under_way: deque[_Side] = deque()
        self._started = self._finished = self._sides[1]
        self._warm, self._capturable, self._abandoned = False, trace is None, False

    # An iteration ---------------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """See Runner: two, once both sets of buffers have a graph.

        Where processes meet it is one: all end at the same iteration, also those that have no graphs.
        """
        return 2 if not self._net_events and all(map(self._is_replayed, self._sides)) else 1

    def stage(self, arrays: Mapping[str, Host]) -> None:
        """See Runner; the batch is on its way up when this returns, while an iteration runs on the other buffers.

        It may take the place of one that nobody wanted, since uploads follow each other.
        """
        free = [one for one in self._sides if one not in self._under_way]
        if not free:
            raise RuntimeError("a batch was staged while iterations run on both sets of buffers")
        side = min(free, key=lambda one: one is self._started)  # by turns
        side.bound.put(arrays)
        with self._named("a batch cannot be uploaded"):
            for one in side.uploads:
                self._call(one, self.bound.devices[one.step.device])
            for device, event in self._uploaded.items():
                device.record(event, "upload")
                self._origin.wait(event, "compute")  # behind an iteration that still runs: the next one starts sooner
        self._staged = side

    def start(self, counters: Counters, rates: Sequence[float]) -> None:
        """See Runner. Returns when the work is enqueued, up to where it needs what other processes have."""
        side, self._staged = self._staged, None
        if side is None:
            raise RuntimeError("an iteration was started before its batch was staged")
        side.iteration = counters[0]
        side.bound.count(counters, rates)
        self.bound.renew()
        side.rest.extend(filter(self._is_due, side.parts))
        for part in side.rest:
            if isinstance(part, Segment) and self._replica not in part.replays:
                self._capture(part)  # before the iteration's time begins
        with self._named("an iteration cannot be started"):
            self._origin.record(side.began, "compute")
            while side.rest and not (isinstance(side.rest[0], End) and side.rest[0].net.is_host_waiting):
                self._work(side)
        self._under_way.append(side)
        self._started = side

    def finish(self) -> float:
        """See Runner."""
        side = self._under_way[0]
        with self._named("an iteration cannot go on"):
            while side.rest:
                self._work(side)
        self._await(self._origin, side.ended, self.watchdog)
        self._finished = self._under_way.popleft()
        self._warm = True
        return self._origin.seconds(side.began, side.ended)

    def drain(self) -> None:
        """See Runner."""
        while self._under_way:
            self.finish()

    def read(self, buffer: BufferKey) -> Host:
        """See Runner."""
        return widened(self._finished.results.hosts[buffer])

    def run(self) -> None:
        """One iteration on the batch staged last and the scalars set last."""
        counters, rates = self.bound.scalars["counters"], self.bound.scalars.get("rates", ())
        self.start((int(counters[0]), int(counters[1])), tuple(rates))
        self.finish()

    def close(self) -> None:
        """Wait a while for an upload that nobody wants any more; what is wrong by now has been told.

        Graphs hold what they were made from, this runner, and so all memory: without them it goes at once.
        """
        with contextlib.suppress(NetspecError):
            if not self._abandoned:
                self._settle(_GRACE_S)
        for segment in self._segments:
            segment.replays.clear()

    # Enqueueing -----------------------------------------------------------------------------------------------------

    def _is_due(self, part: Part) -> bool:
        """Whether any of it runs in the present turn; the last segment always does."""
        if isinstance(part, Segment):
            return part.is_last or any(self.bound.is_due(one.step) for one in part.steps)
        return self.bound.is_due(part.one.step)

    def _work(self, side: _Side) -> None:
        """Enqueue the next part of an iteration, or wait for what others send."""
        part = side.rest.popleft()
        if isinstance(part, Begin):
            self._begin(part.net)
        elif isinstance(part, End):
            self._end(part)
        else:
            (part.replays.get(self._replica) or partial(self._enqueue, part))()
            if part.is_last:
                self._origin.record(side.ended, "compute")

    def _begin(self, net: NetCall) -> None:
        """Let what is to be handed over leave its devices, behind all that has been enqueued."""
        self._origin.record(self._made, "compute")
        for device in net.devices:
            device.wait(self._made, "net")
        for piece, left in zip(net.pieces, self._net_events[net].left, strict=True):
            piece.leave()
            for device, event in left:
                device.record(event, "net")

    def _end(self, part: End) -> None:
        """Exchange it; what comes later on devices waits for what has come."""
        start, events = self.trace.now() if self.trace else 0.0, self._net_events[part.net]
        for piece, left in zip(part.net.pieces, events.left, strict=True):
            for device, event in left if piece.move else ():
                self._await(device, event, self.watchdog)
            if piece.move:
                piece.move()
            piece.arrive()
        for device, event in events.arrived:
            device.record(event, "net")
            self._origin.wait(event, "compute")
        if self.trace:
            self.trace.step(part.one.step, start)

    def _capture(self, segment: Segment) -> None:
        """Make the segment a graph, once everything has run; a driver's refusal is told once."""
        if not (self._warm and self._capturable):
            return
        try:
            segment.replays[self._replica] = self._origin.capture(partial(self._enqueue, segment))
        except Exception as error:
            self._capturable = False
            self.news.append(f"the iteration cannot be captured as a graph, its steps are enqueued instead: {error}")
        self.captured = self._replica in segment.replays

    def _is_replayed(self, side: _Side) -> bool:
        return all(self._replica in segment.replays for segment in side.segments if segment.is_last)

    @property
    def _replica(self) -> int:
        """Each replica has steps, and random numbers, of its own."""
        return self.bound.turn.replica

    def _enqueue(self, segment: Segment) -> None:
        """All steps of a segment; every queue begins after the first device's compute queue and ends before it."""
        self._origin.record(self._forked, "compute")
        for device, lane in self._lanes[1:]:
            device.wait(self._forked, lane)
        for one, device, awaited, ended in segment.items:
            for event in awaited:
                device.wait(event, one.step.queue)
            if self.bound.is_due(one.step):
                self._call(one, device)
            if ended is not None:
                device.record(ended, one.step.queue)
        self._join("copy")
        for call in segment.results:
            call()
        self._join("compute")

    def _join(self, lane: Lane) -> None:
        """Let each device's compute queue wait for its copy queue, or the first device's for the others'."""
        for (device, queue), event in self._joined.items():
            if queue == lane:
                device.record(event, queue)
                (device if lane == "copy" else self._origin).wait(event, "compute")

    def _call(self, one: BoundStep, device: Device) -> None:
        start = self.trace.now() if self.trace else 0.0
        try:
            one.call()
        except NetspecError as error:
            where = f"'{one.step.device}' ({device.name})"
            raise NetspecError(f"step '{one.step.name}' failed on device {where}: {error}") from error
        except Exception as error:
            raise step_failed(one.step, error) from error
        if self.trace:
            self.trace.step(one.step, start)

    def _used_lanes(self) -> list[tuple[Device, Lane]]:
        """The first device's compute queue, then all others that an iteration works in."""
        used = {(self.bound.devices[one.step.device], one.step.queue) for one in self._sides[0].steps}
        lanes: list[tuple[Device, Lane]] = [(device, "compute") for device in self.devices]
        return [*lanes, *((device, "copy") for device in self.devices if (device, "copy") in used)]

    def _make_step_events(self) -> dict[StepKey, Event]:
        """An event for each step that others of its segment wait for; earlier segments are over when one begins."""
        made: dict[StepKey, Event] = {}
        for segment in self._sides[0].segments:
            owners = {one.step.key: self.bound.devices[one.step.device] for one in segment.steps}
            awaited = dict.fromkeys(key for one in segment.steps for key in one.step.after)
            made |= {key: owners[key].event() for key in awaited if key in owners}
        return made

    def _items(self, segment: Segment) -> list[Item]:
        own = {one.step.key for one in segment.steps}
        events = {key: event for key, event in self._step_events.items() if key in own}
        return [
            Item(
                one,
                self.bound.devices[one.step.device],
                [events[key] for key in one.step.after if key in events],
                events.get(one.step.key),
            )
            for one in segment.steps
        ]

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Turn what a driver raises into one message."""
        try:
            yield
        except NetspecError:
            raise
        except Exception as error:
            names = ", ".join(device.name for device in self.devices)
            raise NetspecError(f"{names}: {what}: {type(error).__name__}: {error}") from error

    # Waiting --------------------------------------------------------------------------------------------------------

    def _await(self, device: Device, event: Event, longest: float) -> None:
        """Wait for an event by asking for it, so that other threads go on and no wait is for ever."""
        if device.reached(event):
            return
        began = time.perf_counter()
        while not device.reached(event):
            waited = time.perf_counter() - began
            if waited > longest:
                message = self._overdue(longest)
                self._abandon()
                raise NetspecError(message)
            if waited < _SPIN_S:
                time.sleep(0)
            else:
                self._look_after_others(waited)
                time.sleep(min(waited / 200, 0.01))

    def _abandon(self) -> None:
        """Wait for nothing any more: not for an upload, nor where values are asked for or memory is given back."""
        self._abandoned = True
        for device in self.devices:
            device.abandon()

    def _look_after_others(self, waited: float) -> None:
        """Have a device or a rank that has failed say so, instead of waiting for what it will never do.

        What was to be exchanged is then of no worth, and so is whatever has been enqueued behind it.
        """
        for device, event in self._uploaded.items():
            device.reached(event)
        try:
            self.bound.engine.check(waited)
        except NetspecError:
            self._abandon()
            raise

    def _settle(self, longest: float) -> None:
        """Wait for all uploads."""
        for device, event in self._uploaded.items():
            self._await(device, event, longest)

    def _overdue(self, longest: float) -> str:
        names = ", ".join(f"'{name}' ({device.name})" for name, device in self.bound.devices.items())
        running = self._under_way[0] if self._under_way else None
        of = f"iteration {(running or self._finished).iteration + 1:,}"
        message = f"{of} has not ended after {longest:g} s on {names}"
        if running is None or self._is_replayed(running):
            return f"{message}; it was replayed as a graph, in which single steps cannot be told apart"
        open_ones = [key for key in self._step_events if not self._reached(key)]
        done = [key for key in self._step_events if key not in open_ones]
        last = f"'{done[-1]}' has ended" if done else "no step is known to have ended"
        first = f", '{open_ones[0]}' on device '{open_ones[0].device}' has not" if open_ones else ""
        return f"{message}: {last}{first}"

    def _reached(self, key: StepKey) -> bool:
        return self.bound.devices[key.device].reached(self._step_events[key])


class _Side:
    """One of two sets of input buffers: what brings a batch there, the parts of an iteration on it, and its results."""

    def __init__(self, bound: BoundProgram, origin: Device) -> None:
        self.bound, self.results, self.iteration = bound, Results(bound), -1
        self.began, self.ended = origin.event(timing=True), origin.event(timing=True)
        self.uploads = bound.feeds("upload")
        self.steps = tuple(one for one in bound.steps if one.step.op != "feed")
        self.parts = cut(self.steps)
        self.segments = [part for part in self.parts if isinstance(part, Segment)]
        self.segments[-1].results = [call for _, call in self.results.calls]
        self.rest: deque[Part] = deque()
        """What is still to be done of the iteration under way."""
