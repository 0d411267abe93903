"""Norms of an iteration: sums of squares of gradients and parameters, and the factor that clips all gradients.

A device sums the squares of what it holds. For clipping each gets the others' sums, a number one way, and adds them in
the same order: the norm is that of the whole network's gradient, the same on all.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from netspec.contract.reduction import chunks
from netspec.planning.builder import Builder
from netspec.planning.identities import BufferKey, StepKey, of_device
from netspec.planning.plan import Region


class Norms:
    """Where the sums of squares lie, by the buffer that they are of; none of them where nothing asks for norms."""

    def __init__(self, builder: Builder, gradients: Iterable[Region], wanted: Iterable[str]) -> None:
        self.builder, self.limit = builder, builder.network.spec.train.clip_norm
        regions = list(gradients)
        self.devices = [one for one in builder.network.spec.devices if any(one == r.buffer.device for r in regions)]
        """Devices that hold gradients."""
        is_wanted = self.limit is not None or "g_norm" in wanted
        self.partials = self._parts("gradient_squares", regions) if is_wanted else {}

    def _parts(self, name: str, regions: list[Region]) -> dict[BufferKey, Region]:
        """A part of one float64 buffer a device for each of the regions."""
        counts = {region.buffer: chunks(prod(self.builder.buffers[region.buffer].shape)) for region in regions}
        found: dict[BufferKey, Region] = {}
        for device in self.devices:
            key, start = of_device(name, "norm", device), 0
            for buffer, count in counts.items():
                if buffer.device == device:
                    found[buffer] = Region(key, 0, start, start + count)
                    start += count
            self.builder.declare(key, (start,), "float64")
        return found

    def of_parameters(self, keys: Iterable[BufferKey]) -> dict[BufferKey, Region]:
        """Append the sums of squares of parameters, as they are before the update."""
        found = self._parts("parameter_squares", [Region(key) for key in keys])
        for key, partials in found.items():
            args, flops = {"source": Region(key), "partials": partials}, 2 * prod(self.builder.buffers[key].shape)
            step = StepKey("squares", key.device, target=key)
            self.builder.operation(step, "partials", args, flops=flops, accumulate="float64")
        return found

    def clip(self) -> dict[str, Region]:
        """Append what makes the factor, once all gradients' squares are summed; where it lies, by device."""
        if self.limit is None:
            return {}
        for device in self.devices:
            self.builder.declare(_norms(device), (len(self.devices),), "float64")
            partials = Region(of_device("gradient_squares", "norm", device))
            args = {"partials": partials, "total": self._own(device, device)}
            self.builder.operation(StepKey("total", device), "total", args, accumulate="float64")
        for target in self.devices:
            for place, source in enumerate(self.devices):
                if source != target:
                    self.builder.copy(self._own(source, source), self._own(source, target), 8, place)
        return {device: self._factor(device, self.limit) for device in self.devices}

    def _own(self, device: str, on: str) -> Region:
        """Where a device's sum lies on a device."""
        place = self.devices.index(device)
        return Region(_norms(on), 0, place, place + 1)

    def _factor(self, device: str, limit: float) -> Region:
        factor = self.builder.declare(of_device("clip", "norm", device), (1,), "float32")
        args = {"norms": Region(_norms(device)), "factor": factor}
        self.builder.operation(StepKey("clip", device), "factor", args, attrs={"limit": limit}, accumulate="float64")
        return factor


def _norms(device: str) -> BufferKey:
    return of_device("norms", "norm", device)
