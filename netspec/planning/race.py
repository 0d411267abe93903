"""The static race check: two steps that touch one place, one of them writing, must be ordered. Always on.

It knows nothing of how dependencies were made: it follows queues and ``after`` only. An iteration ends when all of
its steps have ended, so the next one's steps are ordered after it as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from netspec.errors import NetspecError
from netspec.planning.identities import BufferKey
from netspec.planning.order import BufferAccesses, SharedAccesses, Stretches, clocks_of
from netspec.planning.plan import Region, Step

Place = tuple[str, int, int]
"""A memory that buffers share, and the first byte and the end of one in it."""


class RaceError(NetspecError):
    """Two steps may touch one place at once; a fault of the planner, or of a plan made by hand."""


def check_races(steps: Sequence[Step], places: Mapping[BufferKey, Place] | None = None) -> None:
    """Raise RaceError naming two steps that are not ordered.

    ``places`` says where the buffers lie that share memory: such conflict too where their bytes do.
    """
    clocks, touched = clocks_of(steps), _Touched(places or {})
    for position, step in enumerate(steps):
        accesses = step.accesses
        for region, writes in accesses:
            for number in touched.conflicts(region, writes):
                if not clocks.precedes(number, position):
                    raise RaceError(_message(steps[number], step, region))
        for region, writes in accesses:
            touched.note(region, clocks.queue(step), position, writes)


class _Touched:
    """All accesses so far: by buffer, and by bytes of the memories that buffers share."""

    def __init__(self, places: Mapping[BufferKey, Place]) -> None:
        self.places = places
        self.buffers: dict[BufferKey, BufferAccesses] = defaultdict(BufferAccesses)
        self.memories: dict[str, Stretches[SharedAccesses]] = defaultdict(lambda: Stretches(SharedAccesses()))

    def conflicts(self, region: Region, writes: bool) -> Iterator[int]:
        yield from self.buffers[region.buffer].conflicts(region, writes)
        for cell in self.cells(region):
            yield from cell.conflicts(region.buffer, writes)

    def note(self, region: Region, queue: int, position: int, writes: bool) -> None:
        self.buffers[region.buffer].note(region, queue, position, writes)
        for cell in self.cells(region):
            cell.note(region.buffer, queue, position, writes)

    def cells(self, region: Region) -> Sequence[SharedAccesses]:
        if region.buffer not in self.places:
            return ()
        memory, start, stop = self.places[region.buffer]
        return self.memories[memory].over(start, stop)


def _message(first: Step, second: Step, region: Region) -> str:
    return (
        f"race: '{first.name}' and '{second.name}' both touch {region.buffer}, one of them writes, "
        "and nothing orders them"
    )
