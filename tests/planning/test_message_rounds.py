"""Rounds of messages: nothing changes places with what it depends on, and ranks exchange at once what they can."""

from __future__ import annotations

from collections import Counter

import pytest
from towers import drawn

from netspec.planning import Plan, build
from netspec.planning.message_rounds import in_rounds
from netspec.planning.plan import Step
from netspec.planning.rank_cut import over_ranks
from netspec.spec import load


def conflicts(steps: list[Step]) -> set[tuple[object, object]]:
    """Pairs of steps that touch one place, one of them writing, in their order."""
    found = set()
    for place, second in enumerate(steps):
        for first in steps[:place]:
            both = ((a, b) for a in first.accesses for b in second.accesses)
            if any((a[1] or b[1]) and a[0].meets(b[0]) for a, b in both):
                found.add((first.key, second.key))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_what_touches_one_place_keeps_its_order(seed: int) -> None:
    spec, ranks = drawn(seed)
    plan = build(spec)
    steps, place = list(plan.steps), dict(zip(plan.devices, ranks, strict=True))
    found = list(in_rounds(steps, place))
    assert Counter(one.key for one in found) == Counter(one.key for one in steps)
    assert conflicts(found) == conflicts(steps)


def weird(count: int) -> Plan:
    names = [f"w{number}" for number in range(count)]
    listed = f"[{', '.join(names)}]"
    placed = (f"devices={listed}", f"layers.conv1.device={listed}", f"layers.fc8.device={names[0]}")
    return build(load("alexnet-weird-trick", (*placed, f"train.batch={8 * count}")))


@pytest.mark.parametrize("count", [4, 8])
def test_all_pairs_exchange_in_few_rounds(count: int) -> None:
    """k (k - 1) messages bring all rows to each of k devices: as they stand in the plan one after the other, or nearly;
    in rounds of up to k / 2 at most twice the 2 (k - 1) that a rank has."""
    plan = weird(count)
    whole = over_ranks(plan, range(count))
    gathers = [step for step in whole.steps if step.op == "send" and str(step.key.target).startswith("drop6.y@")]
    assert len(gathers) == count * (count - 1)
    busy = Counter[str]()
    for step in gathers:
        ends = step.device, step.key.target.device
        began = max(busy[end] for end in ends)
        busy.update({end: began + 1 - busy[end] for end in ends})
    assert 2 * (count - 1) <= max(busy.values()) <= 4 * (count - 1) - 1 < count * (count - 1) + 4
