"""What an iteration hands to the host: the iteration itself copies it to page-locked memory, where it is just read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from netspec.device.base import Call, Device
from netspec.planning.plan import Buffer
from netspec.program.program import aligned
from netspec.runners.execution.bound import BoundProgram, Host


class Results:
    """Cost layers' sums, the devices' verdicts and, in predict, the probabilities; a block of memory a device."""

    def __init__(self, bound: BoundProgram) -> None:
        self.hosts: dict[str, Host] = {}
        """Where the values come to lie, by buffer."""
        self.calls: list[tuple[Device, Call]] = []
        """Calls that bring them there, in the device's compute queue."""
        by_device: dict[str, list[Buffer]] = defaultdict(list)
        for name in handed_over(bound):
            buffer = bound.program.buffers[name]
            by_device[buffer.device].append(buffer)
        for name, buffers in by_device.items():
            device = bound.devices[name]
            self.hosts |= _carved(device, buffers)
            for buffer in buffers:
                call = device.copier(self.hosts[buffer.name], bound.arrays[buffer.name], device, "compute")
                self.calls.append((device, call))


def handed_over(bound: BoundProgram) -> list[str]:
    """The buffers that a Session reads after an iteration."""
    plan, buffers = bound.program.plan, bound.program.buffers
    answer = [plan.probs] if plan.phase == "predict" and plan.probs else []
    return [*answer, *plan.reports, *(name for name in buffers if name.startswith(("finite@", "overflow@")))]


def _carved(device: Device, buffers: list[Buffer]) -> Mapping[str, Host]:
    block = device.staging((sum(aligned(buffer.nbytes) for buffer in buffers),), "uint8")
    offset, found = 0, {}
    for buffer in buffers:
        found[buffer.name] = block[offset : offset + buffer.nbytes].view(buffer.dtype).reshape(buffer.shape)
        offset += aligned(buffer.nbytes)
    return found
