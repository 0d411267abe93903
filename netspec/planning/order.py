"""The order of steps: dependencies that follow from the regions steps touch, and what precedes what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from netspec.planning.plan import Region, Step

Access = tuple[int, Region, bool]


class StepList:
    """Steps in serial order; adding one finds the earlier steps it must wait for.

    A step waits for earlier writers of what it touches and for earlier readers of what it writes. Steps of one queue
    run in order, so only waits that no queue and no other wait implies are kept.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._before: list[int] = []
        self._last: dict[tuple[str, str], int] = {}
        self._touched: dict[str, list[Access]] = defaultdict(list)

    def add(self, step: Step) -> None:
        """Append a step."""
        position = len(self.steps)
        queue = (step.device, step.queue)
        before = self._mask(self._last.get(queue))
        waits = []
        for number in sorted(set(self._conflicts(step)), reverse=True):
            if not before >> number & 1:
                waits.append(number)
                before |= self._mask(number)
        self.steps.append(replace(step, after=tuple(self.steps[n].name for n in reversed(waits))))
        self._before.append(before)
        self._last[queue] = position
        for region, writes in step.accesses:
            self._touched[region.buffer].append((position, region, writes))

    def _mask(self, position: int | None) -> int:
        return 0 if position is None else self._before[position] | 1 << position

    def _conflicts(self, step: Step) -> Iterable[int]:
        for region, writes in step.accesses:
            for number, other, wrote in self._touched[region.buffer]:
                if (writes or wrote) and region.meets(other):
                    yield number


def precedence(steps: Iterable[Step]) -> list[int]:
    """For each step a bit mask of the steps that have finished before it starts: by its queue or by ``after``."""
    masks: list[int] = []
    names: dict[str, int] = {}
    last: dict[tuple[str, str], int] = {}
    for position, step in enumerate(steps):
        mask = 0
        for number in _direct(step, names, last):
            mask |= masks[number] | 1 << number
        masks.append(mask)
        names[step.name] = position
        last[step.device, step.queue] = position
    return masks


def _direct(step: Step, names: Mapping[str, int], last: Mapping[tuple[str, str], int]) -> Iterable[int]:
    if (step.device, step.queue) in last:
        yield last[step.device, step.queue]
    for name in step.after:
        yield names[name]
