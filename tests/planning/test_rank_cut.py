"""Plans cut by rank: nothing lost, each rank's steps ordered by themselves, and no deadlock, on random nets."""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from towers import FOUR_DEVICES, drawn

from netspec.planning import Plan, build, check_races, from_plain, to_plain
from netspec.planning.identities import BETWEEN_PROCESSES
from netspec.planning.rank_cut import over_ranks, slice_of
from netspec.program import lower, memory
from netspec.spec import load, loads

COUNT = int(os.environ.get("NETSPEC_NETS", "12"))
PHASES = ("train", "eval", "predict")


def slices(plan):
    return [slice_of(plan, rank) for rank in sorted(set(plan.ranks))]


def stuck(parts, chance):
    """The steps that are left when ranks run theirs at random; a send and its receive end together."""
    queues = defaultdict(list)
    for rank, part in enumerate(parts):
        for step in part.steps:
            queues[rank, step.device, step.queue].append(step)
    done = set()
    while queues:
        ready = {
            _name(queue, steps[0]): queue
            for queue, steps in queues.items()
            if all((queue[0], key) in done for key in steps[0].after)
        }
        able = [name for name in ready if _partners(name) <= ready.keys()]
        if not able:
            return list(queues.values())
        for name in _partners(chance.choice(able)):
            step = queues[ready[name]].pop(0)
            done.add((ready[name][0], step.key))
            if not queues[ready[name]]:
                del queues[ready[name]]
    return []


def _name(queue, step):
    message = step.op in ("send", "receive")
    return (step.op, str(step.key.target), step.key.index) if message else (queue[0], step.key)


def _partners(name):
    return {name} if len(name) == 2 else {("send", *name[1:]), ("receive", *name[1:])}


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_cut_loses_nothing_and_never_deadlocks(seed):
    spec, ranks = drawn(seed)
    for phase in PHASES:
        plan = build(spec, phase)
        whole = over_ranks(plan, ranks)
        parts = slices(whole)
        place = dict(zip(plan.devices, ranks, strict=True))
        kept = [step.key for step in plan.steps if not _crosses(step, place)]
        found = [step.key for part in parts for step in part.steps if step.op not in BETWEEN_PROCESSES]
        assert Counter(found) == Counter(kept)
        assert Counter(step.key for part in parts for step in part.steps) == Counter(one.key for one in whole.steps)
        for part in parts:
            check_races(part.steps)
            known = {step.key for step in part.steps}
            assert all(set(step.after) <= known for step in part.steps)
            assert all(region.buffer in part.buffers for step in part.steps for region in step.args.values())
            assert phase == "predict" or {key.of.layer for key in part.reports} == {"loss"}
            assert phase != "train" or part.keys("verdict")
        assert not stuck(parts, random.Random(seed))
        assert from_plain(Plan, to_plain(whole)) == whole


def _crosses(step, place):
    return step.op == "copy" and len({place[region.buffer.device] for region in step.args.values()}) > 1


def test_another_order_on_one_rank_would_deadlock():
    """What the test above would find."""
    parts = slices(over_ranks(build(load("alexnet"), "train", 2), (0, 1)))
    steps = list(parts[1].steps)
    first, second = [place for place, step in enumerate(steps) if step.op in ("send", "receive")][:2]
    steps[first], steps[second] = steps[second], steps[first]
    left = stuck([parts[0], replace(parts[1], steps=tuple(steps))], random.Random(0))
    assert any(queue[0].op in ("send", "receive") for queue in left)


def test_all_ranks_have_one_order_of_messages():
    """Groups that share replicas too: sums over groups stand in that order."""
    spec = loads(FOUR_DEVICES, "four.yaml", ["replicas=4"])
    whole = over_ranks(build(spec, "train", processes=2), (0, 1, 2, 1))
    order = [step.key for step in whole.steps if step.queue == "net"]
    sums = Counter()
    for part in slices(whole):
        own = [step.key for step in part.steps if step.queue == "net"]
        assert own == [key for key in order if key in own]
        sums[[key.op for key in own].count("all_reduce")] += 1
        assert {step.device for step in part.steps if step.queue == "net"} == {part.devices[0]}
    assert sums == {1: 2, 2: 1}, "gradients on all ranks, the report on one of them"


def test_alexnet_sends_what_crosses():
    """The bytes of its crossings, and a few that tell all ranks how the iteration went."""
    plan = build(load("alexnet"), "train")
    whole = over_ranks(plan, (0, 1))
    crossings = sum(one.bytes for one in plan.crossings)
    assert crossings == 60_030_976
    for op in ("send", "receive"):
        assert 0 < sum(step.bytes for step in whole.steps if step.op == op) - crossings < 100
    held = [lower(part, dict.fromkeys(part.devices, "cpu"), dict.fromkeys(part.devices, 1)) for part in slices(whole)]
    alone = memory([lower(plan, dict.fromkeys(plan.devices, "cpu"), dict.fromkeys(plan.devices, 1))])
    for part, device in zip(held, plan.devices, strict=True):
        found = memory([part])
        assert found.keys() == {device}
        assert found[device]["parameter"] == alone[device]["parameter"]
        assert found[device]["total"] < 1.02 * alone[device]["total"]


def test_one_weird_trick_over_ranks_never_deadlocks():
    spec = load("alexnet-weird-trick")
    whole = over_ranks(build(spec, "train"), range(len(spec.devices)))
    assert not stuck(slices(whole), random.Random(0))


def test_one_rank_is_the_plan_itself():
    plan = build(load("alexnet"), "train", 2)
    assert over_ranks(plan, (0, 0)) is plan and slice_of(plan, 0) is plan
