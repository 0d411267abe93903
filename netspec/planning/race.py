"""The static race check: two steps that touch one place, one of them writing, must be ordered. Always on.

It knows nothing of how dependencies were made: it follows queues and ``after`` only. An iteration ends when all of
its steps have ended, so the next one's steps are ordered after it as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from netspec.errors import NetspecError
from netspec.planning.order import precedence
from netspec.planning.plan import Region, Step

Place = tuple[str, Region, int, int]
"""Memory id, region, first byte and last byte; for a plan the memory is the buffer itself."""


class RaceError(NetspecError):
    """Two steps may touch one place at once; a fault of the planner, or of a plan made by hand."""


def by_buffer(region: Region) -> tuple[str, int, int]:
    """Before memory is laid out each buffer is memory of its own."""
    return region.buffer, 0, 1


def check_races(steps: Sequence[Step], locate: Callable[[Region], tuple[str, int, int]] = by_buffer) -> None:
    """Raise RaceError naming the first two steps that are not ordered.

    ``locate`` maps a region to (memory, first byte, end); regions of different buffers that share bytes conflict too.
    """
    before = precedence(steps)
    touched: dict[str, list[tuple[int, Region, bool, int, int]]] = defaultdict(list)
    for position, step in enumerate(steps):
        for region, writes in step.accesses:
            memory, start, stop = locate(region)
            for number, other, wrote, low, high in touched[memory]:
                if not (writes or wrote) or number == position or not (start < high and low < stop):
                    continue
                if (region.buffer != other.buffer or region.meets(other)) and not before[position] >> number & 1:
                    raise RaceError(_message(steps[number], step, region))
            touched[memory].append((position, region, writes, start, stop))


def _message(first: Step, second: Step, region: Region) -> str:
    return (
        f"race: '{first.name}' and '{second.name}' both touch {region.buffer}, one of them writes, "
        "and nothing orders them"
    )
