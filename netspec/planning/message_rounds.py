"""The order in which ranks exchange what crosses between them: rounds, in each of which a rank has one message at most.

A rank's messages go one after the other, in an order that all ranks have in common. In that of the plan, which brings
to one device what it needs from all others before it turns to the next, they would wait in a row: k ranks for k (k - 1)
messages, where k / 2 pairs can exchange at once. So of the messages that serve one layer each goes in the first round
in which both of its ranks are free and what it depends on is there: greedy colouring of edges, at most twice as many
rounds as a rank has messages. What computes comes after the round that it waits for. Layer follows layer as in the
plan: a message that waits for a later layer's work would hold up those behind it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from netspec.planning.identities import BufferKey
from netspec.planning.plan import Region, Step


def in_rounds(steps: Sequence[Step], ranks: Mapping[str, int]) -> Iterator[Step]:
    """The steps, reordered; ``ranks`` has that of each device. Those that touch one place keep their order."""
    for _, several in groupby(zip(_served(steps), steps, strict=True), key=lambda one: one[0]):
        yield from _reordered([step for _, step in several], ranks)


def _served(steps: Sequence[Step]) -> list[tuple[str, str | None]]:
    """The direction and the layer that each step serves: those of the next layer's step."""
    served: tuple[str, str | None] = ("", None)
    found = []
    for step in reversed(steps):
        if step.op in ("forward", "backward"):
            served = step.op, step.layer
        found.append(served)
    return found[::-1]


def _reordered(steps: Sequence[Step], ranks: Mapping[str, int]) -> list[Step]:
    touched: dict[BufferKey, list[tuple[Region, bool, int]]] = defaultdict(list)
    taken: dict[int, set[int]] = defaultdict(set)
    places: list[tuple[int, bool, int]] = []
    for place, step in enumerate(steps):
        number = max(_before(step, touched), default=0)
        ends = {ranks[region.buffer.device] for region in step.args.values()}
        is_message = len(ends) > 1
        if is_message:
            number = _free(number + 1, [taken[rank] for rank in ends])
        for region, writes in step.accesses:
            touched[region.buffer].append((region, writes, number))
        places.append((number, not is_message, place))
    return [steps[place] for _, _, place in sorted(places)]


def _before(step: Step, touched: Mapping[BufferKey, list[tuple[Region, bool, int]]]) -> Iterator[int]:
    """The rounds of what the step has to come after."""
    for region, writes in step.accesses:
        for other, wrote, number in touched.get(region.buffer, ()):
            if (writes or wrote) and region.meets(other):
                yield number


def _free(number: int, taken: Iterable[set[int]]) -> int:
    """The first round from that one on in which all are free; it is taken then."""
    while any(number in one for one in taken):
        number += 1
    for one in taken:
        one.add(number)
    return number
