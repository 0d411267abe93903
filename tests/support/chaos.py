"""Devices that dawdle or fail on purpose."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netspec.device.base import Call
from netspec.device.binding import open_devices
from netspec.device.cpu.device import CpuDevice


class ChaosDevice(CpuDevice):
    """A CPU device that sleeps for a random while before each piece of work."""

    chance: random.Random
    longest: float

    def bind(self, passes: Sequence[Any], arrays: Mapping[str, Any], queue: Any = "compute") -> Call:
        return self._delayed(super().bind(passes, arrays, queue))

    def copier(self, target: Any, source: Any, source_device: Any, queue: Any) -> Call:
        return self._delayed(super().copier(target, source, source_device, queue))

    def _delayed(self, call: Call) -> Call:
        def delayed() -> None:
            time.sleep(self.chance.random() * self.longest)
            call()

        return delayed


def chaos(seed: int, longest: float = 0.002, sizes: Sequence[int] = (1, 1)) -> Callable[..., list[Any]]:
    """An opener of chaotic devices for a Session."""

    def opener(names: Sequence[str]) -> list[ChaosDevice]:
        devices = []
        for index, _ in enumerate(names):
            device = ChaosDevice(index, sizes[index % len(sizes)])
            device.chance, device.longest = random.Random(seed + index), longest
            devices.append(device)
        return devices

    return opener


def teams(*sizes: int) -> Callable[..., list[Any]]:
    """An opener of CPU devices with teams of these sizes."""
    return lambda names: [CpuDevice(index, size) for index, (_, size) in enumerate(zip(names, sizes, strict=True))]


def failing(error: Exception, at: str = "conv3") -> Callable[..., list[Any]]:
    """An opener whose second device raises in the middle of an iteration."""

    def opener(names: Sequence[str]) -> Any:
        devices = open_devices(names)
        device, bind = devices[1], devices[1].bind

        def broken(passes: Any, arrays: Any, queue: Any = "compute") -> Call:
            call = bind(passes, arrays, queue)
            if not any(one.kernel.startswith(f"{at}:") for one in passes):
                return call

            def fail() -> None:
                raise error

            return fail

        device.bind = broken  # type: ignore[method-assign]
        return devices

    return opener
