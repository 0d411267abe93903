"""The Store: parameters, momentum, state and constants of a network, shared by its train, eval and predict Programs.

Shadows of parameters lie here too, as all Programs read the same; they belong to no logical tensor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from netspec.contract.tensor import Shape
from netspec.device.base import Array, Device
from netspec.errors import NetspecError
from netspec.init import initial, pieces
from netspec.machine import start_threads
from netspec.machine.environment import cores
from netspec.planning.identities import SHARED, BufferKey, TensorKey
from netspec.planning.plan import Buffer, Logical, Plan
from netspec.store.write_gate import Gate

Host = np.ndarray[Any, Any]
Parts = Mapping[BufferKey, Host]
"""Values of parts of logical tensors, by buffer."""
NO_PARTS: Parts = {}


class Store:
    """Arrays on devices, and the logical tensors of which they are parts.

    Outside, only logical tensors are seen: ``conv1.weight`` is whole on any number of devices. Of plans over several
    ranks the Store of one has the parts on its own ``devices``; it knows of the others, which it leaves out.
    """

    def __init__(self, plans: Iterable[Plan], devices: Mapping[str, Device]) -> None:
        self.devices = devices
        self.gate = Gate()
        """What renews the Store's arrays waits behind it while they are being copied."""
        self.version = 1
        """Another number whenever what is stored may have changed."""
        self.buffers: dict[BufferKey, Buffer] = {}
        self.initials: dict[TensorKey, Mapping[str, Any]] = {}
        for plan in plans:
            self.buffers.update({key: buffer for key, buffer in plan.buffers.items() if key.role in SHARED})
            self.initials.update(plan.initial)
        self.arrays: dict[BufferKey, Array] = {
            key: devices[key.device].empty(buffer.shape, buffer.dtype)
            for key, buffer in self.buffers.items()
            if key.device in devices
        }
        self._parts: dict[TensorKey, list[BufferKey]] = {}
        for key, buffer in self.buffers.items():
            if buffer.logical is not None:
                self._parts.setdefault(buffer.logical.key, []).append(key)
        self._keys = {str(key): key for key in self._parts}
        """The logical tensors by the names they have in checkpoints."""

    def keys(self) -> Mapping[str, TensorKey]:
        """The logical tensors by name."""
        return self._keys

    def shapes(self) -> dict[str, Shape]:
        """Shapes of the logical tensors by name."""
        return {name: self._shape(key) for name, key in self._keys.items()}

    def _shape(self, key: TensorKey) -> Shape:
        return _logical(self.buffers[self._parts[key][0]]).shape

    def initialise(self, seed: int) -> None:
        """Give every tensor its first values; the same for a seed on any number of devices."""
        with self.initialising(seed):
            pass

    @contextlib.contextmanager
    def initialising(self, seed: int) -> Iterator[None]:
        """``initialise``: values are drawn in threads while the block runs, and put in their places at its end."""
        self.version += 1
        with ThreadPoolExecutor(cores(), "netspec-init") as pool:
            wholes, drawn = {}, []
            for key in self._keys.values():
                if not self._own(key):
                    continue
                init, drawn_by = dict(self.initials[key]), (seed, str(key.parameter))
                what = (init, self._shape(key), init.pop("fan_in", 0), init.pop("fan_out", 0), drawn_by)
                with start_threads.starting("netspec-init"):
                    if self._in_columns(key):
                        drawn += [pool.submit(self._put_rows, key, draw) for draw in pieces(*what)]
                    else:
                        wholes[key] = pool.submit(initial, *what)
            yield
            for each in drawn:
                each.result()
        for key, whole in wholes.items():
            self._put(key, whole.result())

    def _in_columns(self, key: TensorKey) -> bool:
        """Whether a tensor's parts are host memory that holds ranges of its last axis: rows can be put in place."""
        parts = [self.buffers[part] for part in self._own(key)]
        last = {None, len(_logical(parts[0]).shape) - 1}
        return all(self.devices[part.device].kind == "cpu" and _logical(part).axis in last for part in parts)

    def _put_rows(self, key: TensorKey, draw: Callable[[], tuple[slice, Host]]) -> None:
        rows, values = draw()
        for part in self._own(key):
            logical, matrix = _logical(self.buffers[part]), self.arrays[part].reshape(-1, self.buffers[part].shape[-1])
            matrix[rows] = values if logical.axis is None else values[:, logical.start : logical.stop]

    def tensors(self, others: Parts = NO_PARTS) -> dict[str, Host]:
        """Copies of all logical tensors on the host; ``others`` are parts that lie in other ranks, else 0."""
        return {name: self.tensor(name, others) for name in self._keys}

    def tensor(self, name: str, others: Parts = NO_PARTS) -> Host:
        """A copy of one logical tensor on the host; KeyError where there is none of that name."""
        parts = [self.buffers[part] for part in self._parts[self._keys[name]]]
        whole = np.zeros(_logical(parts[0]).shape, parts[0].dtype)
        for part in parts:
            place = whole if _logical(part).axis is None else whole[_range(_logical(part))]
            if part.key in self.arrays:
                self.part(part.key, place)
            elif part.key in others:
                np.copyto(place, others[part.key])
            else:
                continue
            if place is whole:  # other devices have the same
                break
        return whole

    def parted(self) -> Iterator[Buffer]:
        """What logical tensors consist of, wherever it lies, in an order that all ranks have; of copies the first."""
        for keys in self._parts.values():
            buffers = [self.buffers[key] for key in keys]
            yield from buffers[:1] if _logical(buffers[0]).axis is None else buffers

    def part(self, key: BufferKey, into: Host | None = None) -> Host:
        """A copy of a part that lies here, in a new array or ``into`` one."""
        with answered(key.device, self.devices[key.device], str(key)):
            return self.devices[key.device].download(self.arrays[key], into)

    def parts(self) -> dict[BufferKey, Host]:
        """Copies of all parts that lie here."""
        return {key: self.part(key) for keys in self._parts.values() for key in keys if key in self.arrays}

    def take(self, parts: Parts) -> None:
        """Take the values of parts of logical tensors that lie here."""
        self.version += 1
        for key, values in parts.items():
            self.devices[key.device].upload(self.arrays[key], values)

    def begin_copy(self, others: Parts = NO_PARTS) -> Callable[[], dict[str, Host]]:
        """A call that gives ``tensors`` as they are now, from any thread; what would renew them waits until it is over.

        On devices that one thread at a time may use they are copied here and now. Call the call, or training hangs.
        """
        if not all(device.read_beside for device in self.devices.values()):
            made = self.tensors(others)
            return lambda: made
        self.gate.shut()
        return partial(self._copy, others)

    def _copy(self, others: Parts) -> dict[str, Host]:
        try:
            return self.tensors(others)
        finally:
            self.gate.open()

    def load(self, tensors: Mapping[str, Host], strict: bool = True) -> None:
        """Take values by logical name; with ``strict`` there must be one for each tensor and no other.

        Raises NetspecError that names missing, unknown or misshapen tensors; nothing is changed then.
        """
        shapes = self.shapes()
        problems = [f"'{n}' is missing" for n in shapes if strict and n not in tensors]
        problems += [f"'{n}' is not of this network" for n in tensors if strict and n not in shapes]
        for name in tensors.keys() & shapes.keys():
            if tuple(tensors[name].shape) != shapes[name]:
                problems.append(f"'{name}' has shape {tuple(tensors[name].shape)}, the network wants {shapes[name]}")
        if problems:
            more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise NetspecError(f"these tensors do not fit the network: {'; '.join(sorted(problems)[:5])}{more}")
        self.version += 1
        for name in shapes:
            if name in tensors:
                self._put(self._keys[name], tensors[name])

    def _own(self, key: TensorKey) -> list[BufferKey]:
        """The parts of a logical tensor that lie here."""
        return [part for part in self._parts[key] if part in self.arrays]

    def _put(self, key: TensorKey, whole: Host) -> None:
        for part in self._own(key):
            buffer = self.buffers[part]
            values = np.asarray(whole[_range(_logical(buffer))], buffer.dtype)
            self.devices[buffer.device].upload(self.arrays[part], values)


@contextlib.contextmanager
def answered(device: str, real: Device, what: str) -> Iterator[None]:
    """Turn whatever a device that has gone away answers into a NetspecError that names it."""
    try:
        yield
    except (NetspecError, MemoryError):
        raise
    except Exception as error:
        raise NetspecError(f"device '{device}' ({real.name}) failed at '{what}': {error}") from error


def _logical(buffer: Buffer) -> Logical:
    assert buffer.logical is not None
    return buffer.logical


def _range(logical: Logical) -> tuple[slice, ...]:
    if logical.axis is None:
        return ()
    return (*(slice(None),) * logical.axis, slice(logical.start, logical.stop))
