"""Steps of the queue ``net`` that cards do among themselves, by NCCL: the host enqueues them and waits for nothing.

NCCL moves bytes and the card adds, in the tree over replicas, with the kernels that add up replicas: a sum over
processes has the bits that it has over MPI. All that a process exchanges is work of one stream, in the plan's order, so
two communicators of a card are never at work at the same time, which NCCL does not allow. It is part of no graph.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from netspec.contract.naming import Argument
from netspec.device.base import Array, Call, Device
from netspec.device.synchronous import nbytes_of
from netspec.errors import NetspecError
from netspec.planning.plan import Step
from netspec.planning.replica_tree import LARGEST_BUCKET, turn_of
from netspec.program.steps import operation_passes
from netspec.runners.execution.net_calls import NetCall, Piece, in_turn, nothing, scaled, within
from netspec.runners.transport.base import Transport
from netspec.runners.transport.crew import Crew
from netspec.runners.transport.nccl import Nccl

_ALIGNMENT = 64
"""Elements: what each rank adds of a bucket begins where 128-bit accesses may."""
_NAP_S = 0.001


class CardEngine:
    """See Engine; the devices of this process lie on one card, which no other process has."""

    def __init__(self, crew: Crew, devices: Sequence[Device]) -> None:
        """Raises NetspecError where the devices are CPUs or several cards, or NCCL cannot connect the processes."""
        self._crew, self._device, self._failed = crew, devices[0], False
        names = ", ".join(dict.fromkeys(device.name for device in devices))
        if not all(device.enqueues for device in devices):
            raise NetspecError(f"NCCL moves data between GPUs, and {names} was bound: leave out --engine nccl")
        if "," in names:
            raise NetspecError(f"with NCCL each process has one card, and {names} were bound: start one for each card")
        self._places: list[Array] = []
        self._across, self._within = self._connected(crew.across), self._connected(crew.within)

    def _connected(self, transport: Transport) -> Nccl | None:
        found: list[Nccl] = []
        if transport.size > 1:
            self._device.lend(lambda _: found.append(Nccl(transport)), "net")()
        return found[0] if found else None

    def net_call(
        self,
        step: Step,
        arrays: Sequence[Array],
        devices: Sequence[Device],
        shares: Mapping[Device, Array],
        behind: Callable[[Call], Call],
    ) -> NetCall:
        """See Engine."""
        if step.op == "all_reduce":
            calls = [*scaled(arrays, devices, shares, self._device), *self._summed(arrays, devices)]
        else:
            calls = self._message(step, arrays[0], devices[0])
        return NetCall(step, [Piece(in_turn(calls), None, nothing, (self._device,))], behind, self._settle)

    def check(self, waited: float) -> None:
        """See Engine."""
        try:
            for one in self._both():
                one.check()
            if (told := self._crew.world.overdue(waited)) is not None:
                raise NetspecError(told)
        except NetspecError:
            self.fail()
            raise

    def fail(self) -> None:
        """See Engine."""
        self._failed = True

    def close(self) -> None:
        """See Engine."""
        self._device.lend(self._closed, "net")()

    def _closed(self, _: object) -> None:
        for one in self._both():
            if self._failed:
                one.abort()
            else:
                one.close()

    def _both(self) -> Iterator[Nccl]:
        yield from (one for one in (self._across, self._within) if one is not None)

    def _settle(self) -> None:
        """Wait for all that is exchanged, as long as others can be waited for."""
        event = self._device.event()
        self._device.record(event, "net")
        began = time.monotonic()
        while not self._device.reached(event):
            self.check(time.monotonic() - began)
            time.sleep(_NAP_S)

    # Messages -------------------------------------------------------------------------------------------------------

    def _message(self, step: Step, array: Array, device: Device) -> list[Call]:
        assert self._within is not None
        nbytes = nbytes_of(tuple(array.shape), str(array.dtype))
        arena = self._device.arena(nbytes)
        row = self._device.carve(arena, 0, tuple(array.shape), str(array.dtype))
        copier = self._device.copier
        if step.op == "send":
            move = partial(self._within.send, arena, step.attrs["to"])
            return [copier(row, array, device, "net"), self._device.lend(move, "net")]
        move = partial(self._within.receive, arena, step.attrs["from"])
        return [self._device.lend(move, "net"), copier(array, row, self._device, "net")]

    # Sums -----------------------------------------------------------------------------------------------------------

    def _summed(self, arrays: Sequence[Array], devices: Sequence[Device]) -> list[Call]:
        """All arrays, bucket by bucket, through one bucket's memory."""
        assert self._across is not None
        ranks, dtype = self._crew.across.size, str(arrays[0].dtype)
        sizes = [int(array.size) for array in arrays]
        itemsize = nbytes_of((1,), dtype)
        most = min(sum(sizes), LARGEST_BUCKET // itemsize)
        own = -(-most // (ranks * _ALIGNMENT)) * _ALIGNMENT
        bucket, received = self._memory(ranks * own * itemsize)
        values = self._device.carve(bucket, 0, (ranks * own,), dtype)
        rows = [self._device.carve(received, rank * own * itemsize, (own,), dtype) for rank in range(ranks)]
        total = self._device.slice(received, 0, (ranks - 1) * own * itemsize, ranks * own * itemsize)
        exchange = [
            self._device.lend(partial(self._across.alltoall, bucket, received), "net"),
            *self._added(rows),
            self._device.lend(partial(self._across.allgather, total, bucket), "net"),
        ]
        calls: list[Call] = []
        for start in range(0, sum(sizes), ranks * own):
            parts = list(within(arrays, devices, sizes, start, start + ranks * own))
            calls += [self._copied(values, *part, start, inwards=True) for part in parts]
            calls += exchange
            calls += [self._copied(values, *part, start, inwards=False) for part in parts]
        return calls

    def _memory(self, nbytes: int) -> list[Array]:
        """So much of the two places that all steps use in turn: what is exchanged, and what others send."""
        if not self._places:
            most = LARGEST_BUCKET + self._crew.across.size * _ALIGNMENT * 8
            self._places = [self._device.arena(most) for _ in range(2)]
            for place in self._places:  # what lies behind the last array is added up too
                self._device.upload(place, np.zeros(most, np.uint8))
        return [self._device.slice(place, 0, 0, nbytes) for place in self._places]

    def _copied(
        self, values: Array, place: int, array: Array, device: Device, first: int, last: int, start: int, inwards: bool
    ) -> Call:
        part = device.slice(array.reshape((array.size,)), 0, first, last)
        held = self._device.slice(values, 0, place - start, place - start + last - first)
        target, source = (held, part) if inwards else (part, held)
        return self._device.copier(target, source, device, "net")

    def _added(self, rows: Sequence[Array]) -> Iterator[Call]:
        """Adds up rows in the tree over replicas; the last of them becomes the sum."""
        subtrees: dict[int, Array] = {}
        for number, row in enumerate(rows):
            turn = turn_of(number)
            args = {Argument("value"): row, Argument("target"): row}
            args |= {Argument("subtree", index=level): subtrees[level] for level in range(turn)}
            subtrees[turn] = row
            if turn:
                shapes = {one: tuple(array.shape) for one, array in args.items()}
                yield self._device.bind(operation_passes("accumulate", shapes, self._device.kind), args, "net")
