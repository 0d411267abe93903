"""Timing work on a GPU: repeats inside one captured graph where that works, medians of several rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from netspec.device.base import Device

Call = Callable[[], None]
ROUNDS = 7


def seconds(device: Device, call: Call, least: float = 0.02, graph: bool = True) -> float:
    """Seconds of one call on the device: the median of rounds that take ``least`` seconds each.

    ``graph``: the call works in the compute queue alone, which is what can be captured.
    """
    call()
    device.synchronise()
    once = max(_round(device, call, 1), 1e-6)
    count = max(1, min(200, round(least / once)))
    many = repeated(device, call, count, graph)
    many()
    device.synchronise()
    return statistics.median(_round(device, many, 1) for _ in range(ROUNDS)) / count


def repeated(device: Device, call: Call, count: int, graph: bool) -> Call:
    """The call ``count`` times, as one graph where that is asked for and the device can."""

    def many() -> None:
        for _ in range(count):
            call()

    try:
        return device.capture(many) if graph else many
    except Exception:
        return many


def host_seconds(device: Device, call: Call, count: int = 500) -> float:
    """Seconds that the host takes to enqueue one call, the queue being far from full."""
    call()
    device.synchronise()
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(count):
            call()
        rounds.append((time.perf_counter() - start) / count)
        device.synchronise()
    return min(rounds)


def _round(device: Device, call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    device.synchronise()
    return time.perf_counter() - start
