"""What a machine allows a step to take at least: the roofline model (Williams, Waterman and Patterson 2009)."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from netspec.program.gpu_model import step_bytes
from netspec.units import scaled, throughput

if TYPE_CHECKING:
    from netspec.runners.execution.session import Session

_SIDE, _COPIED, _TIMES = 1024, 1 << 25, 4
"""Rows of the matrices that are multiplied; bytes that are copied, more than caches hold; how often, of each."""
_MEANING = (
    "Of the roofline: the least time over the time. The least is that of the operations at the rate of a large matrix "
    "product, or that of the bytes at the rate of a large copy, whichever is longer. Winograd's convolution needs "
    "fewer operations than are counted, and caches are faster than a copy, so that shares above 100 % are possible"
)


@dataclass(frozen=True, slots=True)
class Roof:
    """Operations a second of a large matrix product, bytes a second of a large copy (read and written)."""

    flops: float
    bandwidth: float

    def seconds(self, flops: int, nbytes: int) -> float:
        """The least time for so many operations and bytes, whichever takes longer."""
        return max(flops / self.flops, nbytes / self.bandwidth)

    def __str__(self) -> str:
        return f"{scaled(self.flops, 'FLOP/s')}, {throughput(self.bandwidth)}"


def step_bounds(session: Session) -> tuple[dict[str, float], str]:
    """Seconds at least for the steps forward and backward of a training iteration, by name; and a line on them.

    Measured now, on as many threads as each device has. None where a device is no CPU: what a GPU does when is not
    known to the host, whose times a trace has.
    """
    if any(device.kind != "cpu" for device in session.devices.values()):
        return {}, "No share of the roofline: times on GPUs are those at which the host enqueues, not the card's own."
    sizes = {name: device.team_size for name, device in session.devices.items()}
    roofs = {size: measured(size) for size in set(sizes.values())}
    program = session.programs["train"]
    bounds = {
        step.name: roofs[sizes[step.device]].seconds(step.flops, step_bytes(program, step))
        for step in program.steps
        if step.op in ("forward", "backward")
    }
    rates = "; ".join(f"{name} {roofs[size]}" for name, size in sizes.items())
    return bounds, f"{_MEANING}. Measured on this machine: {rates}."


def measured(threads: int) -> Roof:
    """The roof of so many threads, each at its own product or copy, the best of a few times."""
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((_SIDE, _SIDE), dtype=np.float32) for _ in range(2))
    products = [np.empty_like(a) for _ in range(threads)]
    copies = [(np.zeros(_COPIED, np.uint8), np.zeros(_COPIED, np.uint8)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        product = _best(pool, lambda i: np.matmul(a, b, out=products[i]), threads)
        copy = _best(pool, lambda i: np.copyto(*copies[i]), threads)
    return Roof(threads * 2 * _SIDE**3 / product, threads * 2 * _COPIED / copy)


def _best(pool: ThreadPoolExecutor, job: Callable[[int], Any], threads: int) -> float:
    """The least time in which all threads did the job once."""
    return min(_timed(lambda: list(pool.map(job, range(threads)))) for _ in range(_TIMES))


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
