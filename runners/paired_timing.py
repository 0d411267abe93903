"""Is one call faster than another, beyond what other load on the machine can feign? Both are timed in turn, in pairs.

A pair has several calls of each, one after the other, of which the least times count: load only ever adds. A call wins
a pair when it is faster by MARGIN. Of equal calls each wins at most every other pair, so that NEEDED of PAIRS come by
chance once in 270 times (sign test: 3.7e-3).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import comb
from statistics import median
from typing import NamedTuple, Protocol

MARGIN = 0.02
"""Share of the time by which a call must be faster, to be worth other bits."""
PAIRS, NEEDED = 15, 13
CHANCE = sum(comb(PAIRS, wins) for wins in range(NEEDED, PAIRS + 1)) / 2**PAIRS
"""How likely a call that is no faster wins so many pairs, at most."""
LEAST_S = 0.02
"""How long the calls of one side of a pair last together, at least."""
_CALLS = 2
"""So many there are at least: other work on the machine seldom meets them all."""


class Waits(Protocol):
    """What is asked of a device."""

    def synchronise(self) -> None:
        """Wait until the calls are done."""


class PairedTimes(NamedTuple):
    """Medians over the pairs of both calls' seconds, and how many pairs the first one won; the rest was not needed."""

    seconds: float
    other: float
    wins: int

    @property
    def holds(self) -> bool:
        """Whether the first call is faster."""
        return self.wins >= NEEDED


def time_in_pairs(device: Waits, call: Callable[[], None], other: Callable[[], None]) -> PairedTimes:
    """Time two calls, which have both run before, in turn; it ends when too many pairs are lost."""
    count = max(_CALLS, round(LEAST_S / max(min(_seconds(device, call), _seconds(device, other)), 1e-6)))
    taken: list[tuple[float, float]] = []
    wins = 0
    while len(taken) < PAIRS and len(taken) - wins <= PAIRS - NEEDED:
        pair = _pair(device, call, other, count)
        wins += pair[0] <= (1 - MARGIN) * pair[1]
        taken.append(pair)
    return PairedTimes(median(pair[0] for pair in taken), median(pair[1] for pair in taken), wins)


def _pair(device: Waits, call: Callable[[], None], other: Callable[[], None], count: int) -> tuple[float, float]:
    times = [(_seconds(device, call), _seconds(device, other)) for _ in range(count)]
    return min(one[0] for one in times), min(one[1] for one in times)


def _seconds(device: Waits, call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    device.synchronise()
    return time.perf_counter() - start
