"""How fast this machine multiplies and copies: the roofline (Williams, Waterman and Patterson 2009)."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from netspec.units import scaled, throughput

_SIDE, _COPIED, _TIMES = 1024, 1 << 25, 4
"""Rows of the matrices that are multiplied; bytes that are copied, more than caches hold; how often, of each."""


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


def measured(threads: int) -> Roof:
    """The roof of so many threads, each at its own product or copy, the best of a few times."""
    import numpy as np

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
