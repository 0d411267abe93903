"""A Program bound to open devices: every buffer an array, every step a call."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from netspec.contract.naming import Argument
from netspec.contract.tensor import Shape
from netspec.device.base import Array, Call, Device, Lane
from netspec.errors import NetspecError
from netspec.machine import copies
from netspec.planning.identities import BETWEEN_PROCESSES, SHARED, STORED, BufferKey
from netspec.planning.plan import Pass, Step
from netspec.program.program import Program
from netspec.runners.execution.engines import Engine
from netspec.runners.execution.net_calls import ALONE, in_turn, named
from netspec.runners.execution.shared_gradients import SharedGradients
from netspec.store import Store, answered

Host = np.ndarray[Any, Any]
SOURCE, TARGET = Argument("source"), Argument("target")


@dataclass(frozen=True)
class BoundStep:
    """A step and the call that runs, or on GPUs enqueues, it."""

    step: Step
    call: Call


@dataclass(slots=True)
class Turn:
    """Which replica of a batch is being worked on, counted from 0, and its turn, see netspec.planning.replica_tree."""

    replica: int = 0
    number: int = 0


class BoundProgram:
    """What a runner executes: bound steps in serial order, and host arrays for what changes with each iteration."""

    def __init__(
        self,
        program: Program,
        devices: Mapping[str, Device],
        store: Store,
        arenas: Mapping[str, Array],
        engine: Engine = ALONE,
        shared: SharedGradients | None = None,
    ) -> None:
        self.program, self.devices, self.engine, self.shared = program, devices, engine, shared
        self.gate, self.store = store.gate, store
        self.shards, self.turn = program.plan.by_place(), Turn()
        self.arrays = self._allocate(store, arenas)
        self.inputs: dict[str, Host] = {}
        """What a batch is put into, by network input; on CPUs the buffer of the first device that reads it.

        What belongs to an input's images beside them is called as its tensor is: ``image.tint``.
        """
        self._optional: set[str] = set()
        self.scalars: dict[str, Host] = {}
        """``counters`` and ``rates`` of the next iteration, likewise."""
        self.steps = tuple(map(self._bound, program.steps))
        self._trains = any(map(self._renews, program.steps))
        self._once = [(step, self._bind(step, once=True)) for step in program.steps if _has_once(step)]
        self.trust()
        self._made_of = 0
        """The Store's version of which passes that run once have been run."""

    def fill(self, arrays: Mapping[str, Host], counters: tuple[int, int], rates: Sequence[float]) -> None:
        """Put a batch and its scalars in place. Raises NetspecError for a batch of another shape."""
        self.put(arrays)
        self.set(counters, rates)

    def put(self, arrays: Mapping[str, Host]) -> None:
        """Put a batch in place; what alters its colours is 0, which is nothing, unless the batch has it.

        Raises NetspecError for a batch of another shape.
        """
        for name, slot in self.inputs.items():
            values = arrays.get(name)
            if values is None and name in self._optional:
                slot[...] = 0
                continue
            if values is None or values.shape != slot.shape:
                got = "nothing" if values is None else f"{values.dtype} {values.shape}"
                raise NetspecError(f"the batch's '{name}' must be {slot.dtype} {slot.shape}, got {got}")
            copies.copy(slot, values)

    def set(self, counters: tuple[int, int], rates: Sequence[float]) -> None:
        """Put an iteration's scalars in place; renew what is made of stored tensors that have changed."""
        self.count(counters, rates)
        self.renew()

    def count(self, counters: tuple[int, int], rates: Sequence[float]) -> None:
        """Put an iteration's scalars in place."""
        self.scalars["counters"][:] = counters
        if "rates" in self.scalars:
            self.scalars["rates"][:] = rates

    def renew(self) -> None:
        """Make anew what is made of stored tensors, where these have changed."""
        if self._once and self._made_of != self.store.version:
            for step, call in self._once:
                with answered(step.device, self.devices[step.device], step.name):
                    call()
                    self.devices[step.device].synchronise()
        self.store.version += self._trains
        self._made_of = self.store.version  # what training makes once it keeps up with its own updates

    def twin(self) -> BoundProgram:
        """The same program with input buffers of its own: one takes a batch while the other's is worked on.

        The scalars' places on the host are its own too; all else is shared.
        """
        inputs = {key for key in self.program.buffers if key.role == "input"}
        twin = copy.copy(self)
        twin.arrays = {**self.arrays, **{key: self._own(key) for key in self.arrays if key in inputs}}
        twin.inputs, twin.scalars = {}, {}
        twin.steps = tuple(
            twin._bound(one.step)
            if one.step.op == "scalars" or any(region.buffer in inputs for region in one.step.args.values())
            else one
            for one in self.steps
        )
        return twin

    def trust(self) -> None:
        """Have devices take what they compute for finite, until one of their checks says otherwise."""
        for key in self.program.plan.keys("verdict"):
            self.devices[key.device].upload(self.arrays[key], np.ones((), np.int32))

    def is_due(self, step: Step) -> bool:
        """Whether a step runs in the present turn."""
        return not step.turns or self.turn.number in step.turns

    def feeds(self, lane: Lane) -> tuple[BoundStep, ...]:
        """The steps that bring inputs to a device, bound to another of its queues."""
        feeds = [one.step for one in self.steps if one.step.op == "feed"]
        return tuple(BoundStep(step, self._feed(step, self.devices[step.device], lane)) for step in feeds)

    def download(self, key: BufferKey) -> Host:
        """A buffer's values on the host."""
        with answered(key.device, self.devices[key.device], str(key)):
            return self.devices[key.device].download(self.arrays[key])

    # Memory ---------------------------------------------------------------------------------------------------------

    def _allocate(self, store: Store, arenas: Mapping[str, Array]) -> dict[BufferKey, Array]:
        arrays: dict[BufferKey, Array] = {}
        for key, buffer in self.program.buffers.items():
            if key.role in SHARED:
                arrays[key] = store.arrays[key]
            elif self.shared and key in self.shared.arrays:
                arrays[key] = self.shared.arrays[key]
            elif key in self.program.offsets:
                offset, device = self.program.offsets[key], self.devices[key.device]
                arrays[key] = device.carve(arenas[key.device], offset, buffer.shape, buffer.dtype)
            else:
                arrays[key] = self._own(key)
        return arrays

    def _own(self, key: BufferKey) -> Array:
        buffer = self.program.buffers[key]
        return self.devices[key.device].empty(buffer.shape, buffer.dtype)

    def _array(self, step: Step, argument: Argument, matrix: bool = False) -> Array:
        """The array of an argument; as a matrix (rows, last axis) where several axes would be in the way."""
        region = step.args[argument]
        buffer, array, axis = self.program.buffers[region.buffer], self.arrays[region.buffer], region.axis
        start, stop = region.start, region.stop
        if matrix:
            array = array.reshape((prod(buffer.shape[:-1]), buffer.shape[-1]))
            if axis == len(buffer.shape) - 1:
                axis = 1
            elif axis == 0:  # each of its rows is several of the matrix
                start, stop = (place * prod(buffer.shape[1:-1]) for place in (start, stop))
        if axis is None:
            return array
        return self.devices[buffer.device].slice(array, axis, start, stop)

    def _check(self, step: Step) -> None:
        """Raise RuntimeError where memory is not what the plan, or the layer whose argument it is, has declared."""
        for argument, region in step.args.items():
            buffer, array = self.program.buffers[region.buffer], self.arrays[region.buffer]
            planned, got = (buffer.shape, buffer.dtype), (tuple(array.shape), str(array.dtype))
            declared = self._declared(step, argument) or planned
            if got != planned or planned != declared:
                raise RuntimeError(
                    f"'{argument}' of step '{step.name}' is declared as {_told(declared)}, buffer '{region.buffer}' is "
                    f"planned as {_told(planned)}, its array is {_told(got)}"
                )

    def _declared(self, step: Step, argument: Argument) -> tuple[Shape, str] | None:
        """What a layer says of its tensor; None for what is no layer's."""
        region, layer = step.args[argument], argument.layer or step.layer
        if layer is None or step.op not in ("forward", "backward") or region.buffer.role in _UNDECLARED:
            return None
        tensors = self.shards[layer, step.device].tensors
        tensor = tensors.gradient(argument.tensor) if argument.role == "gradient" else tensors[argument.tensor]
        return tensor.shape, tensor.dtype

    # Steps ----------------------------------------------------------------------------------------------------------

    def _bound(self, step: Step) -> BoundStep:
        self._check(step)
        return BoundStep(step, self.call(step))

    def call(self, step: Step) -> Call:
        """A step on the program's buffers, ready to run."""
        device = self.devices[step.device]
        if step.op == "feed":
            return self._feed(step, device, step.queue)
        if step.op == "scalars":
            return self._scalars(step, device)
        if step.op in BETWEEN_PROCESSES:
            return self._net_call(step)
        if step.op == "copy":
            source, target = (self._array(step, one, matrix=True) for one in (SOURCE, TARGET))
            call = device.copier(target, source, self.devices[step.args[SOURCE].buffer.device], step.queue)
        else:
            call = self._bind(step)
        return self.gate.behind(call) if self._renews(step) else call

    def _net_call(self, step: Step) -> Call:
        """What moves between processes; gradients that all of them see are summed where they lie."""
        is_message = step.op != "all_reduce"
        moved = tuple(step.args) if is_message else step.writes
        shares = {
            self.devices[region.buffer.device]: self._array(step, one)
            for one, region in step.args.items()
            if one.tensor == "share"
        }
        seen = [one for one in moved if self.shared and step.args[one].buffer in self.shared.arrays]
        calls: list[Call] = []
        if self.shared and seen:
            keys = [step.args[one].buffer for one in seen]
            share = next(iter(shares.values()), None)
            calls.append(named(step, self.shared.summing(keys, self.devices[keys[0].device], share)))
        if rest := [one for one in moved if one not in seen]:
            arrays = [self._array(step, one, matrix=is_message) for one in rest]
            devices = [self.devices[step.args[one].buffer.device] for one in rest]
            behind = self.gate.behind if self._renews(step) else _as_it_is
            calls.append(self.engine.net_call(step, arrays, devices, shares, behind))
        return calls[0] if len(calls) == 1 else in_turn(calls)

    def _bind(self, step: Step, once: bool = False) -> Call:
        """The step's passes that run in each iteration, or those that run once."""
        arrays = {one: self._array(step, one, matrix=step.op == "sum") for one in step.args}
        reading = self.shared and self.shared.reading(step, arrays, self.devices[step.device])
        if reading:
            return reading
        passes = tuple(one for one in step.passes if one.once == once)
        if not any(tail.per_replica for one in passes for tail in (one, *one.then)):
            return self.devices[step.device].bind(passes, arrays, step.queue)
        each = [[_of_replica(one, number) for one in passes] for number in range(self.program.plan.replicas)]
        calls = [self.devices[step.device].bind(one, arrays, step.queue) for one in each]
        turn = self.turn
        return lambda: calls[turn.replica]()

    def _renews(self, step: Step) -> bool:
        """Whether the step writes what is stored."""
        return any(step.args[one].buffer.role in STORED for one in step.writes)

    def _feed(self, step: Step, device: Device, lane: Lane) -> Call:
        of = step.args[TARGET].buffer.of
        assert of.input is not None
        name = of.input if step.key.input is not None else str(of)
        if step.key.input is None:
            self._optional.add(name)
        return self._brought(self.inputs, name, self._array(step, TARGET), device, lane, step.attrs)

    def _brought(
        self, hosts: dict[str, Host], name: str, target: Array, device: Device, lane: Lane, some: Mapping[str, Any] = {}
    ) -> Call:
        """A call that brings a host array, or the ``rows`` of it, to a buffer.

        On CPUs the buffer of the first device, if that takes all rows, is the host array.
        """
        shape = (some.get("of", target.shape[0]), *target.shape[1:])
        if name not in hosts:
            staged = device.enqueues or device.kind != "cpu" or some
            hosts[name] = device.staging(shape, str(target.dtype)) if staged else target
        if hosts[name] is target:
            return _nothing
        start, stop = some.get("rows", (0, shape[0]))
        return device.copier(target, hosts[name][start:stop], None, lane)

    def _scalars(self, step: Step, device: Device) -> Call:
        calls = []
        for one in step.args:
            target = self._array(step, one)
            calls.append(self._brought(self.scalars, one.tensor, target, device, step.queue))
        return in_turn(calls)


def _of_replica(one: Pass, number: int) -> Pass:
    """The pass where it draws the random numbers of that replica's elements, and the passes fused into it likewise."""
    then = tuple(_of_replica(tail, number) for tail in one.then)
    if not one.per_replica:
        return replace(one, then=then)
    offset = one.scalars["channel_offset"] + number * one.per_replica
    return replace(one, then=then, scalars={**one.scalars, "channel_offset": offset})


_UNDECLARED = ("scalar", "workspace", "derived")
"""Roles of buffers that are no tensor of a layer."""


def _as_it_is(call: Call) -> Call:
    return call


def _nothing() -> None:
    """What would be copied lies in its buffer already."""


def _told(declared: tuple[Shape, str]) -> str:
    return f"{declared[1]} {list(declared[0])}"


def _has_once(step: Step) -> bool:
    return any(one.once for one in step.passes)
