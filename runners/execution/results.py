"""What an iteration hands to the host: the iteration itself copies it to page-locked memory, where it is just read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from netspec.device.base import Call, Device
from netspec.device.dtypes import numpy_dtype
from netspec.planning.identities import BufferKey
from netspec.planning.plan import Buffer
from netspec.program.program import aligned
from netspec.runners.execution.bound import BoundProgram, Host


class Results:
    """Cost layers' sums, the devices' verdicts and, but for training, the network's answer; a block a device."""

    def __init__(self, bound: BoundProgram) -> None:
        self.hosts: dict[BufferKey, Host] = {}
        """Where the values come to lie, by buffer."""
        self.calls: list[tuple[Device, Call]] = []
        """Calls that bring them there, in the device's compute queue."""
        by_device: dict[str, list[Buffer]] = defaultdict(list)
        for key in handed_over(bound):
            by_device[key.device].append(bound.program.buffers[key])
        for name, buffers in by_device.items():
            device = bound.devices[name]
            self.hosts |= _carved(device, buffers)
            for buffer in buffers:
                call = device.copier(self.hosts[buffer.key], bound.arrays[buffer.key], device, "compute")
                self.calls.append((device, call))


def handed_over(bound: BoundProgram) -> list[BufferKey]:
    """The buffers that a Session reads after an iteration."""
    plan = bound.program.plan
    answer = [plan.answer] if plan.phase != "train" and plan.answer else []
    return [*answer, *plan.reports, *plan.keys("verdict", "overflow")]


def _carved(device: Device, buffers: list[Buffer]) -> Mapping[BufferKey, Host]:
    block = device.staging((sum(aligned(buffer.nbytes) for buffer in buffers),), "uint8")
    offset, found = 0, {}
    for buffer in buffers:
        found[buffer.key] = block[offset : offset + buffer.nbytes].view(numpy_dtype(buffer.dtype)).reshape(buffer.shape)
        offset += aligned(buffer.nbytes)
    return found
