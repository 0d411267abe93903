"""Gradients in memory that all processes of a machine see: summed where they lie, and read where they were summed.

Each rank sums its own part of each gradient, in the tree over ranks, and checks it in the same pass. Nothing is copied:
the update of each rank takes every part from the rank that has summed it. No rank writes to a gradient again before all
have met at the start of the next iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from netspec.contract.naming import Argument
from netspec.device.base import Array, Call, Device
from netspec.device.cpu.pages import populate
from netspec.planning.identities import BufferKey, Op
from netspec.planning.plan import Buffer, Pass, Plan, Step
from netspec.program.program import aligned
from netspec.program.steps import operation_passes
from netspec.runners.execution.net_calls import in_turn
from netspec.runners.transport.base import Transport
from netspec.runners.transport.crew import Crew

_BEFORE: tuple[Op, ...] = ("backward", "copy", "sum", "accumulate", "all_reduce")
_BY_PART: tuple[Op, ...] = ("finite", "update")
"""What may touch a shared gradient: steps that make one rank's values, and those that read all ranks' sums."""
_SOURCE, _FLAG, _GRADIENT, _OVERFLOW = map(Argument, ("source", "flag", "gradient", "overflow"))
_ELEMENTS = 64
"""Parts begin at multiples of so many, and so in cache lines of their own."""


class Part(NamedTuple):
    """Elements ``[start, stop)`` of a gradient: their sums, which lie with the rank whose part it is, and its flag."""

    start: int
    stop: int
    values: Array
    flag: Array


class SharedGradients:
    """The gradients of a program in memory of each rank, and the calls of the steps that sum and read them."""

    def __init__(self, transport: Transport, buffers: Mapping[BufferKey, Buffer], memory: Sequence[Array]) -> None:
        """``memory``: of each rank, of as many bytes as ``_needed`` tells."""
        self.transport = transport
        populate(memory[transport.rank])
        words, place = [one[: _head(len(buffers))] for one in memory], _head(len(buffers))
        self._shares = [one[:4].view(np.float32) for one in words]
        self._flags = [one[4:].view(np.int32) for one in words]
        self._all: dict[BufferKey, list[Array]] = {}
        for key, buffer in buffers.items():
            self._all[key] = [one[place : place + buffer.nbytes].view(np.float32) for one in memory]
            place += aligned(buffer.nbytes)
        self._places = {key: number for number, key in enumerate(buffers)}
        self._flags[transport.rank][...] = 1
        self.arrays = {key: each[transport.rank].reshape(buffers[key].shape) for key, each in self._all.items()}
        """This rank's own gradients, before they are summed."""

    def summing(self, keys: Sequence[BufferKey], device: Device, share: Array | None) -> Call:
        """A call that sums gradients over ranks, part by part; each rank's counts by its ``share`` (1,), if any do."""
        calls = [call for key in keys for call in self._adding(key, device, share is not None)]
        own = [self._parts(key)[self.transport.rank].flag for key in keys]

        def call() -> None:
            if share is not None:
                self._shares[self.transport.rank][...] = share
            for flag in own:
                flag[...] = 1
            self.transport.meet()
            for one in calls:
                one()
            self.transport.meet()

        return call

    def reading(self, step: Step, arrays: Mapping[Argument, Array], device: Device) -> Call | None:
        """The call of a step that reads sums; None where it reads none."""
        argument = _SOURCE if step.op == "finite" else _GRADIENT
        region = step.args.get(argument) if step.op in _BY_PART else None
        if region is None or region.buffer not in self._all:
            return None
        parts = self._parts(region.buffer)
        if step.op == "finite":
            flag, flags = arrays[_FLAG], [part.flag for part in parts]
            return lambda: np.minimum.reduce(flags, out=flag)
        along = {one for one in (*step.writes, _GRADIENT) if one != _OVERFLOW}
        calls = [
            device.bind([_cut(one, part)], {**arrays, **_rows(arrays, along, part), _GRADIENT: part.values}, step.queue)
            for one in step.passes
            for part in parts
            if part.values.size
        ]
        return in_turn(calls)

    def _parts(self, key: BufferKey) -> list[Part]:
        each, number = self._all[key], self._places[key]
        size, ranks = each[0].size, len(each)
        ends = [*(size * rank // ranks // _ELEMENTS * _ELEMENTS for rank in range(ranks)), size]
        return [
            Part(start, stop, values[start:stop], flags[number : number + 1])
            for start, stop, values, flags in zip(ends, ends[1:], each, self._flags, strict=False)
        ]

    def _adding(self, key: BufferKey, device: Device, by_shares: bool) -> Iterator[Call]:
        """Calls that sum this rank's part: neighbours first, and each sum in the place of one of the two.

        Where one of them is this rank's own that is the place, so that the last sum lies there.
        """
        rank, part = self.transport.rank, self._parts(key)[self.transport.rank]
        left = [(other, values[part.start : part.stop]) for other, values in enumerate(self._all[key])]
        while part.values.size and len(left) > 1:
            pairs = [sorted(pair, key=lambda one: one[0] != rank) for pair in zip(left[::2], left[1::2], strict=True)]
            for (place, target), (other, value) in pairs:
                arrays = {Argument("target"): target, Argument("value"): value, _FLAG: part.flag}
                if by_shares:
                    arrays |= {Argument("own_share"): self._shares[place], Argument("share"): self._shares[other]}
                shapes = {one: array.shape for one, array in arrays.items()}
                yield device.bind(operation_passes("reduce", shapes, "cpu"), arrays)
            left, by_shares = [target for target, _ in pairs], False


def shared_by(
    crew: Crew, devices: Iterable[Device], make: Callable[[bool], Plan]
) -> tuple[Plan, SharedGradients | None]:
    """A plan that ``make`` makes, and its gradients where processes see them: it is told whether they do.

    They do where devices are CPUs, all processes are on one machine, which has room for it, and checks and updates
    alone read the sums: norms are those of whole gradients.
    """
    across, is_host = crew.across, all(device.kind == "cpu" and not device.enqueues for device in devices)
    if across.size > 1 and crew.within.size == 1 and is_host:
        plan = make(True)
        found = _shareable(plan)
        memory = across.allocate(_needed(found)) if found else None
        if memory:
            return plan, SharedGradients(across, found, memory)
    return make(False), None


def _shareable(plan: Plan) -> dict[BufferKey, Buffer]:
    """The gradients that processes sum; none where something reads one that must have it whole."""
    summed = [step.args[one].buffer for step in plan.steps if step.op == "all_reduce" for one in step.writes]
    steps = [step for step in plan.steps if step.op not in (*_BEFORE, *_BY_PART)]
    whole = {region.buffer for step in steps for region in step.args.values()}
    found = {key: plan.buffers[key] for key in summed if key.role == "parameter gradient"}
    return {} if whole & found.keys() else found


def _needed(buffers: Mapping[BufferKey, Buffer]) -> int:
    """Bytes that each rank's memory has of gradients, of a word for each, and of one for the share."""
    return _head(len(buffers)) + sum(aligned(buffer.nbytes) for buffer in buffers.values())


def _head(count: int) -> int:
    return aligned(4 + 4 * count)


def _cut(one: Pass, part: Part) -> Pass:
    extent = part.stop - part.start
    return replace(one, extent=extent, block=min(one.block, extent))


def _rows(arrays: Mapping[Argument, Array], along: set[Argument], part: Part) -> dict[Argument, Array]:
    return {one: arrays[one].reshape(-1)[part.start : part.stop] for one in along}
