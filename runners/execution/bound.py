"""A Program bound to open devices: every buffer an array, every step a call."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from netspec.device.base import Array, Call, Device, Lane
from netspec.errors import NetspecError
from netspec.planning.plan import STORED, Region, Step
from netspec.program.program import Program
from netspec.store import Store, answered

Host = np.ndarray[Any, Any]
_SCALARS = {"counters": (2, "int64"), "rates": (3, "float32")}


@dataclass(frozen=True)
class BoundStep:
    """A step and the call that runs, or on GPUs enqueues, it."""

    step: Step
    call: Call


class BoundProgram:
    """What a runner executes: bound steps in serial order, and host slots for what changes with each iteration."""

    def __init__(
        self, program: Program, devices: Mapping[str, Device], store: Store, arenas: Mapping[str, Array]
    ) -> None:
        self.program, self.devices = program, devices
        self.gate, self.store = store.gate, store
        self.arrays = self._allocate(store, arenas)
        self.slots: dict[str, Host] = {}
        """Host arrays by network input, and ``counters`` and ``rates``: filled before an iteration."""
        self.steps = tuple(BoundStep(step, self.call(step)) for step in program.steps)
        self._trains = any(map(self._renews, program.steps))
        self._once = [(step, self._bind(step, once=True)) for step in program.steps if _has_once(step)]
        self._made_of = 0
        """The Store's version of which passes that run once have been run."""

    def fill(self, arrays: Mapping[str, Host], counters: tuple[int, int], rates: tuple[float, float, float]) -> None:
        """Put a batch and its scalars into the host slots. Raises NetspecError for a batch of another shape."""
        self.put(arrays)
        self.set(counters, rates)

    def put(self, arrays: Mapping[str, Host]) -> None:
        """Put a batch into the host slots. Raises NetspecError for a batch of another shape."""
        for name, slot in self.slots.items():
            if name in _SCALARS:
                continue
            values = arrays.get(name)
            if values is None or values.shape != slot.shape:
                got = "nothing" if values is None else f"{values.dtype} {values.shape}"
                raise NetspecError(f"the batch's '{name}' must be {slot.dtype} {slot.shape}, got {got}")
            np.copyto(slot, values, casting="same_kind")

    def set(self, counters: tuple[int, int], rates: tuple[float, float, float]) -> None:
        """Put an iteration's scalars into the host slots; renew what is made of stored tensors that have changed."""
        self.slots["counters"][:] = counters
        if "rates" in self.slots:
            self.slots["rates"][:] = rates
        self.store.version += self._trains
        if self._once and self._made_of != self.store.version:
            for step, call in self._once:
                with answered(step.device, self.devices[step.device], step.name):
                    call()
                    self.devices[step.device].synchronise()
            self._made_of = self.store.version

    def twin(self) -> BoundProgram:
        """The same program with input buffers and slots of its own: one takes a batch while the other's is worked on.

        All else is shared, scalars too.
        """
        inputs = {name for name, buffer in self.program.buffers.items() if buffer.kind == "input"}
        twin = copy.copy(self)
        twin.arrays = {**self.arrays, **{name: self._own(name) for name in self.arrays if name in inputs}}
        twin.slots = {name: slot for name, slot in self.slots.items() if name in _SCALARS}
        twin.steps = tuple(
            BoundStep(one.step, twin.call(one.step))
            if any(region.buffer in inputs for region in one.step.args.values())
            else one
            for one in self.steps
        )
        return twin

    def feeds(self, lane: Lane) -> tuple[BoundStep, ...]:
        """The steps that bring inputs from their slots to a device, bound to another of its queues."""
        feeds = [one.step for one in self.steps if one.step.op == "feed"]
        return tuple(BoundStep(step, self._feed(step, self.devices[step.device], lane)) for step in feeds)

    def download(self, buffer: str) -> Host:
        """A buffer's values on the host."""
        name = self.program.buffers[buffer].device
        with answered(name, self.devices[name], buffer):
            return self.devices[name].download(self.arrays[buffer])

    # Memory ---------------------------------------------------------------------------------------------------------

    def _allocate(self, store: Store, arenas: Mapping[str, Array]) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        for name, buffer in self.program.buffers.items():
            device = self.devices[buffer.device]
            if buffer.kind in STORED:
                arrays[name] = store.arrays[name]
            elif name in self.program.offsets:
                offset = self.program.offsets[name]
                arrays[name] = device.carve(arenas[buffer.device], offset, buffer.shape, buffer.dtype)
            else:
                arrays[name] = self._own(name)
        return arrays

    def _own(self, name: str) -> Array:
        buffer = self.program.buffers[name]
        return self.devices[buffer.device].empty(buffer.shape, buffer.dtype)

    def _view(self, region: Region, matrix: bool = False) -> Array:
        """The array of a region; as a matrix (rows, last axis) where several axes would be in the way."""
        buffer = self.program.buffers[region.buffer]
        array, axis = self.arrays[region.buffer], region.axis
        if matrix and (axis is None or axis == len(buffer.shape) - 1):
            array = array.reshape((prod(buffer.shape[:-1]), buffer.shape[-1]))
            axis = None if axis is None else 1
        if axis is None:
            return array
        return self.devices[buffer.device].slice(array, axis, region.start, region.stop)

    # Steps ----------------------------------------------------------------------------------------------------------

    def call(self, step: Step) -> Call:
        """A step on the program's buffers, ready to run."""
        device = self.devices[step.device]
        if step.op == "feed":
            return self._feed(step, device, step.queue)
        if step.op == "scalars":
            return self._scalars(step, device)
        if step.op == "copy":
            source = self._view(step.args["source"], matrix=True)
            target = self._view(step.args["target"], matrix=True)
            origin = self.devices[self.program.buffers[step.args["source"].buffer].device]
            return device.copier(target, source, origin, step.queue)
        call = self._bind(step)
        return self.gate.behind(call) if self._renews(step) else call

    def _bind(self, step: Step, once: bool = False) -> Call:
        """The step's passes that run in each iteration, or those that run once."""
        arrays = {name: self._view(region, matrix=step.op == "sum") for name, region in step.args.items()}
        passes = tuple(one for one in step.passes if one.once == once)
        return self.devices[step.device].bind(passes, arrays, step.queue)

    def _renews(self, step: Step) -> bool:
        """Whether the step writes what is stored."""
        return any(self.program.buffers[step.args[name].buffer].kind in STORED for name in step.writes)

    def _feed(self, step: Step, device: Device, lane: Lane) -> Call:
        buffer = self.program.buffers[step.args["target"].buffer]
        name = step.name.partition(".")[0].partition("@")[0]
        slot = self._slot(device, name, buffer.shape, buffer.dtype)
        return device.copier(self.arrays[buffer.name], slot, None, lane)

    def _scalars(self, step: Step, device: Device) -> Call:
        calls = []
        for name, region in step.args.items():
            length, dtype = _SCALARS[name]
            slot = self._slot(device, name, (length,), dtype)
            calls.append(device.copier(self.arrays[region.buffer], slot, None, step.queue))

        def call() -> None:
            for one in calls:
                one()

        return call

    def _slot(self, device: Device, name: str, shape: tuple[int, ...], dtype: str) -> Host:
        if name not in self.slots:
            self.slots[name] = device.staging(shape, dtype)
        return self.slots[name]


def _has_once(step: Step) -> bool:
    return any(one.once for one in step.passes)
