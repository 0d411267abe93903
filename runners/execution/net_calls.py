"""Steps of the queue ``net``: what leaves devices, what the host moves between processes, and what comes back.

On CPUs processes exchange the buffers themselves. A GPU's values leave it for page-locked memory by its own queue
``net``, bucket by bucket, so that one bucket is on its way down while the one before it is exchanged and the one before
that goes up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from netspec.contract.naming import Argument
from netspec.device.base import Array, Call, Device
from netspec.errors import NetspecError
from netspec.planning.plan import Step
from netspec.planning.replica_tree import bucket_of
from netspec.program.steps import operation_passes
from netspec.runners.transport.base import Transport
from netspec.runners.transport.crew import LONE, Crew
from netspec.runners.transport.exchange import summing


class Piece(NamedTuple):
    """A part of a step: ``leave`` and ``arrive`` are work of the queue ``net`` of ``devices``, ``move`` of the host.

    Where devices do it all in ``leave``, the host has nothing to move.
    """

    leave: Call
    move: Call | None
    arrive: Call
    devices: tuple[Device, ...]


class NetCall:
    """A step of the queue ``net``. Called, it does all of it, and has finished when it returns."""

    def __init__(
        self, step: Step, pieces: Sequence[Piece], behind: Callable[[Call], Call], settle: Call | None = None
    ) -> None:
        """``behind``: what holds back whatever is written on devices; ``settle``: waits for the devices."""
        told = partial(named, step)
        self.pieces = [
            Piece(
                told(one.leave if one.move else behind(one.leave)),
                one.move and told(one.move),
                told(behind(one.arrive)),
                one.devices,
            )
            for one in pieces
        ]
        self.devices = tuple(dict.fromkeys(device for one in pieces for device in one.devices))
        self.is_host_waiting = any(one.move for one in pieces)
        """Whether the host moves something, for which it has to wait."""
        self._settle = told(settle or self._synchronise)

    def __call__(self) -> None:
        """From the devices, to the other processes, and to the devices."""
        for one in self.pieces:
            one.leave()
        self._settle()
        for one in self.pieces:
            if one.move:
                one.move()
            one.arrive()
        self._settle()

    def _synchronise(self) -> None:
        for device in self.devices:
            device.synchronise()


class HostEngine:
    """See Engine: the transport moves what lies in the host's memory."""

    def __init__(self, crew: Crew, devices: Sequence[Device] = ()) -> None:
        self._crew = crew

    def net_call(
        self,
        step: Step,
        arrays: Sequence[Array],
        devices: Sequence[Device],
        shares: Mapping[Device, Array],
        behind: Callable[[Call], Call],
    ) -> NetCall:
        """See Engine; of a message's rows a slice lies in one piece on its way."""
        if step.op == "all_reduce":
            return NetCall(step, _summed(self._crew.across, arrays, devices, shares), behind)
        (array,), (device,), ranks = arrays, devices, self._crew.within
        host = array if _is_host(device) and array.flags.c_contiguous else device.staging(array.shape, str(array.dtype))
        down, up = (nothing, nothing) if host is array else _both_ways(device, array, host)
        if step.op == "send":
            piece = Piece(down, partial(ranks.send, host, step.attrs["to"]), nothing, (device,))
        else:
            piece = Piece(nothing, partial(ranks.receive, host, step.attrs["from"]), up, (device,))
        return NetCall(step, [piece], behind)

    def check(self, waited: float) -> None:
        """See Engine: its own device is waited for; others may ask who is still there."""
        if (told := self._crew.world.overdue(0.0)) is not None:
            raise NetspecError(told)

    def fail(self) -> None:
        """See Engine: nothing is under way when a call has returned."""

    def close(self) -> None:
        """See Engine."""


ALONE = HostEngine(LONE)
"""The engine of a process that works everything by itself."""


def _is_host(device: Device) -> bool:
    """Whether others may read and write its arrays where they are, as soon as its calls have returned."""
    return device.kind == "cpu" and not device.enqueues


def _summed(
    transport: Transport, arrays: Sequence[Array], devices: Sequence[Device], shares: Mapping[Device, Array]
) -> list[Piece]:
    if all(map(_is_host, devices)):
        share = next((partial(_number, device, array) for device, array in shares.items()), None)
        return [Piece(nothing, summing(transport, arrays, share=share), nothing, tuple(dict.fromkeys(devices)))]
    sizes = [int(array.size) for array in arrays]
    host = devices[0].staging((sum(sizes),), str(arrays[0].dtype))
    most = max(1, bucket_of(transport.size) // host.itemsize)
    pieces, before = [], scaled(arrays, devices, shares)
    for start in range(0, host.size, most):
        stop, ways = min(start + most, host.size), []
        for place, array, device, first, last in within(arrays, devices, sizes, start, stop):
            part = device.slice(array.reshape((array.size,)), 0, first, last)
            ways.append((*_both_ways(device, part, host[place : place + last - first]), device))
        down, up = in_turn([*before, *(way[0] for way in ways)]), in_turn([way[1] for way in ways])
        move, before = summing(transport, [host[start:stop]]), []
        pieces.append(Piece(down, move, up, tuple(dict.fromkeys(way[2] for way in ways))))
    return pieces


def _number(device: Device, array: Array) -> float:
    return float(device.download(array)[0])


def scaled(
    arrays: Sequence[Array], devices: Sequence[Device], shares: Mapping[Device, Array], worker: Device | None = None
) -> list[Call]:
    """Calls that multiply each array by the share of its device, where it has one, in the queue ``net``.

    The queue is that of the device, or of one ``worker`` for all.
    """
    calls = []
    for array, device in zip(arrays, devices, strict=True):
        if device in shares:
            args = {Argument("value"): array, Argument("share"): shares[device], Argument("target"): array}
            shapes = {one: tuple(each.shape) for one, each in args.items()}
            by = worker or device
            calls.append(by.bind(operation_passes("accumulate", shapes, by.kind), args, "net"))
    return calls


def within(
    arrays: Sequence[Array], devices: Sequence[Device], sizes: Sequence[int], start: int, stop: int
) -> Iterator[tuple[int, Array, Device, int, int]]:
    """What of the arrays, one behind the other, lies in a range: its place, and the part of which array."""
    begins = 0
    for array, device, size in zip(arrays, devices, sizes, strict=True):
        first, last = max(start - begins, 0), min(stop - begins, size)
        if first < last:
            yield begins + first, array, device, first, last
        begins += size


def _both_ways(device: Device, array: Array, host: Array) -> tuple[Call, Call]:
    """Copies of a device's array to the host and back."""
    return device.copier(host, array, device, "net"), device.copier(array, host, None, "net")


def in_turn(calls: Sequence[Call]) -> Call:
    """The calls one after the other."""

    def call() -> None:
        for one in calls:
            one()

    return call


def named(step: Step, call: Call) -> Call:
    """The call, whose errors name the step."""

    def told() -> None:
        try:
            call()
        except NetspecError as error:
            raise NetspecError(f"step '{step.name}': {error}") from error

    return told


def nothing() -> None:
    """The values lie where they are wanted already."""
