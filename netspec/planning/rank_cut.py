"""A plan cut by rank: the devices of one replica may lie in several processes, each of which works its own steps.

A copy between devices of two ranks becomes a pair: the one rank's ``send`` and the other's ``receive``. Both stand on
the rank's queue ``net``, on which also each ``all_reduce`` is, in one order of all steps, see
netspec.planning.message_rounds. So whatever crosses between ranks has one order, which all of them follow, and every
step waits for earlier ones alone: by induction over that order each step's turn comes, even where a send ends only when
it has been received.

Ranks count the processes of one replica. Where replicas have several groups of such processes, all groups have the same
plan, and an ``all_reduce`` sums over those of one rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from netspec.contract.naming import Argument
from netspec.planning.identities import BufferKey, StepKey
from netspec.planning.message_rounds import in_rounds
from netspec.planning.order import StepList
from netspec.planning.plan import Plan, Region, Step
from netspec.planning.race import check_races
from netspec.planning.replica_tree import levels

SOURCE, TARGET = Argument("source"), Argument("target")


def over_ranks(plan: Plan, ranks: Sequence[int]) -> Plan:
    """The plan with its devices in these ranks, one for each device, and steps that send and receive.

    Every rank also gets what a run asks of an iteration: the sums that cost layers report, and a verdict. With one rank
    the plan is what it was.
    """
    if len(set(ranks)) == 1:
        return plan
    cut = _Cut(plan, ranks)
    for step in in_rounds((*plan.steps, *cut.handed_over()), cut.ranks):
        for one in cut.of_ranks(step):
            cut.order.add(one)
    check_races(cut.order.steps)
    reports = {key: names for first, names in plan.reports.items() for key in cut.everywhere(first)}
    steps = tuple(cut.order.steps)
    return replace(plan, ranks=tuple(ranks), buffers=cut.buffers, steps=steps, reports=reports)


def slice_of(plan: Plan, rank: int) -> Plan:
    """A rank's steps, with what each must wait for of the rank's own; all that it needs to run them."""
    if not plan.ranks:
        return plan
    own = [device for device, other in zip(plan.devices, plan.ranks, strict=True) if other == rank]
    order = StepList()
    for step in plan.steps:
        if step.device in own:
            order.add(replace(step, after=()))
    check_races(order.steps)
    return replace(
        plan,
        devices=tuple(own),
        buffers={key: buffer for key, buffer in plan.buffers.items() if key.device in own},
        steps=tuple(order.steps),
        shards=tuple(shard for shard in plan.shards if shard.device in own),
        edges=tuple(edge for edge in plan.edges if {edge.source_device, edge.target_device} & set(own)),
        crossings=tuple(one for one in plan.crossings if {one.from_device, one.to_device} & set(own)),
        reports={key: names for key, names in plan.reports.items() if key.device in own},
        answer=plan.answer if plan.answer and plan.answer.device in own else None,
        ranks=(),
    )


def parts(plan: Plan, ranks: Sequence[int]) -> list[Plan]:
    """The plan cut into that of each rank; the plan itself where there is one rank, or none is named."""
    whole = over_ranks(plan, ranks) if ranks else plan
    return [slice_of(whole, rank) for rank in range(max(ranks, default=0) + 1)]


class _Cut:
    """Cuts a plan's steps, and adds those that no process by itself needs."""

    def __init__(self, plan: Plan, ranks: Sequence[int]) -> None:
        self.plan, self.buffers, self.order = plan, dict(plan.buffers), StepList()
        self.ranks = dict(zip(plan.devices, ranks, strict=True))
        self.first = {rank: device for device, rank in reversed(self.ranks.items())}
        """The first device of each rank: its queue ``net`` is the rank's."""
        self.turns = (levels(plan.replicas // plan.processes),) if plan.replicas > 1 else ()

    # What every rank gets -------------------------------------------------------------------------------------------

    def everywhere(self, key: BufferKey) -> list[BufferKey]:
        """The buffer, and those of other ranks that get a copy of it."""
        others = (rank for rank in sorted(self.first) if rank != self.ranks[key.device])
        return [key, *(replace(key, device=self.first[rank]) for rank in others)]

    def handed_over(self) -> Iterator[Step]:
        """Copies of reports to each rank, and of a verdict to those that have none."""
        for report in self.plan.reports:
            yield from self._copies(*self.everywhere(report))
        verdicts = self.plan.keys("verdict")
        judged = {self.ranks[key.device] for key in verdicts}
        for key in verdicts[:1]:
            yield from self._copies(key, *(one for one in self.everywhere(key) if self.ranks[one.device] not in judged))

    def _copies(self, source: BufferKey, *targets: BufferKey) -> Iterator[Step]:
        buffer = self.buffers[source]
        for target in targets:
            self.buffers[target] = replace(buffer, key=target)
            key, args = StepKey("copy", target.device, target=target), {SOURCE: Region(source), TARGET: Region(target)}
            yield Step(key, "copy", args, (TARGET,), turns=self.turns, bytes=buffer.nbytes)

    # Cutting --------------------------------------------------------------------------------------------------------

    def of_ranks(self, step: Step) -> Iterator[Step]:
        """The step as ranks have it. Raises ValueError where one rank's would touch what another holds."""
        places = {self.ranks[region.buffer.device] for region in step.args.values()}
        if step.op == "all_reduce":
            yield from (self._part(step, rank) for rank in sorted(places))
        elif step.op == "copy" and len(places) > 1:
            yield from self._message(step)
        elif places <= {self.ranks[step.device]}:
            yield replace(step, after=())
        else:
            raise ValueError(f"the step '{step.name}' touches memory of several ranks")

    def _part(self, step: Step, rank: int) -> Step:
        """A rank's part of a step for all devices."""
        args = {one: region for one, region in step.args.items() if self.ranks[region.buffer.device] == rank}
        writes = tuple(one for one in step.writes if one in args)
        nbytes = sum(self.buffers[args[one].buffer].nbytes for one in writes)
        key = replace(step.key, device=self.first[rank])
        return replace(step, key=key, args=args, writes=writes, bytes=nbytes, after=())

    def _message(self, step: Step) -> Iterator[Step]:
        source, target = step.args[SOURCE], step.args[TARGET]
        sender, receiver = (self.ranks[region.buffer.device] for region in (source, target))
        send = replace(step.key, op="send", device=self.first[sender])
        yield replace(step, key=send, queue="net", args={SOURCE: source}, writes=(), after=(), attrs={"to": receiver})
        receive = replace(step.key, op="receive", device=self.first[receiver])
        args = {TARGET: target}
        yield replace(step, key=receive, queue="net", args=args, after=(send,), attrs={"from": sender})
