"""What a run of several processes will take, before any of them is started.

What each of them computes comes from ``netspec estimate``'s ways, measured here or by the model of a GPU, for its share
of the replicas. What they exchange is what netspec.runners.transport.exchange does between machines, bucket by bucket:
a barrier, an alltoall, sums in memory, an allgather, in one level over all processes. All of it is counted, as if none
were hidden behind the backward pass that it runs beside. A message takes alpha
seconds and each byte beta more, as usual (Thakur, Rabenseifner and Gropp 2005).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, log, log2, prod, sqrt
from typing import Any, Literal, NamedTuple

import numpy as np

from netspec.contract.kernel import Phase
from netspec.device.binding import ranked
from netspec.errors import NetspecError
from netspec.events import Listener
from netspec.machine.environment import cores, host_memory
from netspec.machine.roofline import measured
from netspec.planning import build, check
from netspec.planning.json_form import NOT_PLAIN
from netspec.planning.plan import Plan, Region
from netspec.planning.rank_cut import parts
from netspec.planning.replica_tree import bucket_of, check_processes
from netspec.planning.storage import storage_of
from netspec.program import memory
from netspec.program.gpu_model import GPUS, Gpu
from netspec.registry import load_plugin
from netspec.report.lowered import by_rank, storage_at
from netspec.runners.estimate import Estimate, estimate
from netspec.runners.interconnect import Interconnect, Link
from netspec.runners.modelled_estimate import modelled, on_gpu
from netspec.runners.rank_schedule import Cost, Ranks, Sums, by_operations, modelled_steps, play
from netspec.runners.training.request import Request, load_spec, settle
from netspec.runners.transport.base import AT_ONCE
from netspec.runners.transport.exchange import Bucket, buckets
from netspec.spec.types import Spec

_TRAFFIC = 3.0
"""Bytes of memory traffic for each byte that is added: two are read, one is written."""
_JITTER = 0.01
"""The standard deviation of an iteration's time, as a share of it: the slowest of all processes counts."""

Elements = tuple[tuple[int, ...], tuple[int, ...]]
"""Of gradients and next states, in the order in which the backward pass gives them; and of reports, which come last."""
_PHASES: tuple[Phase, ...] = ("train", "eval")
Binding = Literal["compute", "network", "memory"]


@dataclass(frozen=True, slots=True)
class Share:
    """What each process has to do.

    It works ``images`` of each batch in ``seconds``, holds ``memory`` bytes on each of the spec's devices, of ``room``
    that it has, and has arrays of so many ``elements`` to add up with the others; sums in memory move ``bandwidth``
    bytes a second. ``where`` says whose figures these are: a GPU's, or those of a machine that it has to itself.

    Where the devices lie in several processes, ``ranks`` has these: a group of them works the images, ``seconds`` is
    what one process would take for all of it, and each rank has arrays of its own.
    """

    name: str
    images: int
    seconds: float
    memory: Mapping[str, int]
    room: int | None
    elements: Elements
    bandwidth: float
    where: str
    ranks: Ranks | None = field(default=None, repr=False, metadata=NOT_PLAIN)

    @property
    def each(self) -> int:
        """How many processes work the images together."""
        return self.ranks.size if self.ranks else 1


@dataclass(frozen=True, slots=True)
class Forecast:
    """What ``processes`` on a network take: bytes and seconds of an iteration, of the process that has most.

    ``sent`` bytes leave a process in ``messages``, ``received`` reach it. ``latency`` is the part of ``exchange`` that
    messages take whatever their size. In groups of ``each`` for a replica some of the exchange goes beside compute, and
    ranks wait for one another, so that an ``iteration`` is not the sum of both. ``rate`` counts images a second of all
    processes; ``efficiency`` is the speedup over one process that works the same batch, by their number. ``binds`` is
    what would have to be better for more.
    """

    network: str
    processes: int
    each: int
    nodes: int
    batch: int
    images: int
    memory: int
    buffers: int
    sent: int
    received: int
    messages: int
    compute: float
    exchange: float
    latency: float
    iteration: float
    rate: float
    efficiency: float
    binds: Binding


def share_of(
    request: Request, processes: int, gpu: str | None = None, seconds: float = 10.0, listener: Listener | None = None
) -> Share:
    """The share that one of so many processes has in a run; its time is measured here, or a model's for a GPU.

    Raises NetspecError and SpecError as a run of them would.
    """
    for plugin in request.binding.plugins:
        load_plugin(plugin)
    spec = settle(request, None).spec
    names, places = ranked(request.binding.names or ())
    each = max(places, default=0) + 1
    groups = _groups(processes, each)
    check_processes(spec, groups, each)
    check(spec)
    own = (f"replicas={spec.replicas // groups}", f"train.batch={spec.train.batch // groups}")
    one = replace(request, sets=(*request.sets, *own))
    if each > 1:  # by themselves all devices are those of this machine, whatever it has
        one = replace(one, binding=replace(one.binding, devices=names[0].partition(":")[0]))
    found: Estimate = modelled(one, gpu, None, None) if gpu else estimate(one, seconds, None, None, listener)
    card, taken = GPUS[gpu] if gpu else None, found.batch / found.rate
    ranks = _ranks(request, spec, places, groups, card, taken) if each > 1 else None
    return Share(
        name=spec.name,
        images=found.batch,
        seconds=taken,
        memory=found.memory if ranks is None else ranks.memory,
        room=card.memory if card else host_memory(),
        elements=exchanged(spec) if ranks is None else ((), ()),
        bandwidth=card.copy if card else measured(cores()).bandwidth,
        where=f"an {card.title}, by a model" if card else f"{', '.join(found.devices)} of this machine, measured",
        ranks=ranks,
    )


def _groups(processes: int, each: int) -> int:
    """How many groups of so many ranks ``each`` there are. Raises NetspecError where some are left over."""
    groups, left = divmod(processes, each)
    if left:
        low = max(groups, 1) * each
        raise NetspecError(
            f"{processes:,} processes are no whole groups of the {each} in which the devices lie: {low:,}, for example"
        )
    return groups


def _ranks(request: Request, spec: Spec, places: Sequence[int], groups: int, card: Gpu | None, seconds: float) -> Ranks:
    """A group's ranks, which take as long as the model says of the card, or share ``seconds`` by their operations."""
    devices = ",".join(request.binding.names or ())
    storage = storage_of(spec.train.precision, [card.capability]) if card else storage_at(spec, devices)
    train, evaluation = (build(spec, phase, processes=groups, storage=storage) for phase in _PHASES)
    if card:
        each = [[on_gpu(part, spec, card) for part in parts(plan, places)] for plan in (train, evaluation)]
    else:
        each = [by_rank(plan, spec, devices) for plan in (train, evaluation)]
    programs, replicas = tuple(each[0]), spec.replicas // groups
    rows = [memory(pair) for pair in zip(*each, strict=True)]
    return Ranks(
        programs=programs,
        seconds=modelled_steps(programs, card) if card else by_operations(programs, replicas, seconds),
        memory={name: row["total"] for found in rows for name, row in found.items()},
        replicas=replicas,
        sums=_sums(train, places),
        host=card.host if card else 0.0,
    )


def _sums(plan: Plan, places: Sequence[int]) -> Sums:
    """What is summed over groups, with the rank of each array."""
    rank = dict(zip(plan.devices, places, strict=True))
    steps = [[(rank[one.buffer.device], _count(plan, one)) for one in regions] for regions in summed_by(plan)]
    return [one for several in steps[:-1] for one in several], steps[-1] if steps else []


def each_works_all(request: Request) -> Request:
    """The request of a run of two processes, each of which works as much as the spec's one does."""
    spec = load_spec(request.spec, request.sets)  # type: ignore[arg-type]
    own = (f"replicas={2 * spec.replicas}", f"train.batch={2 * spec.train.batch}")
    return replace(request, sets=(*request.sets, *own))


def exchanged(spec: Spec) -> Elements:
    """Elements of the arrays that processes sum in each iteration."""
    replicas = max(spec.replicas, 2)
    train = replace(spec.train, batch=spec.replica_batch * replicas)
    return elements_of(build(replace(spec, replicas=replicas, train=train), processes=2))


def elements_of(plan: Plan) -> Elements:
    """The same of a plan for several processes."""
    *means, reports = [[_count(plan, region) for region in regions] for regions in summed_by(plan)]
    return tuple(count for counts in means for count in counts), tuple(reports)


def _count(plan: Plan, region: Region) -> int:
    return prod(region.shape_in(plan.buffers[region.buffer].shape))


def summed_by(plan: Plan) -> list[list[Region]]:
    """What processes sum in each step, in the order of these."""
    steps = (step for step in plan.steps if step.op == "all_reduce")
    return [[step.args[one] for one in step.writes] for step in steps]


def bucketed(elements: Elements, processes: int) -> list[Bucket]:
    """The buckets in which so many processes exchange arrays of so many elements; the arrays take no memory."""
    means, reports = ([(0, count) for count in counts] for counts in elements)
    return bucketed_of((means, reports), processes, 0)


def bucketed_of(sums: Sums, processes: int, rank: int) -> list[Bucket]:
    """The same of one of the ranks that work a replica together; none for one process."""
    steps: list[list[tuple[int, int]]] = []
    for several in sums if processes > 1 else ():
        steps.append([])
        for one in several:
            if 4 * sum(count for _, count in steps[-1]) >= bucket_of(processes):
                steps.append([])
            steps[-1].append(one)
    own = ([count for holder, count in step if holder == rank] for step in steps)
    arrays = ([np.broadcast_to(np.zeros((), np.float32), (count,)) for count in counts] for counts in own if counts)
    return [bucket for several in arrays for bucket in buckets(several, processes)]


def forecast(share: Share, processes: int, network: Interconnect) -> Forecast:
    """What so many processes take that have such a share each."""
    if share.ranks:
        return _of_groups(share, share.ranks, processes, network)
    cut = bucketed(share.elements, processes)
    costs = [_cost(one.nbytes, processes, network, share.bandwidth) for one in cut]
    agreed = _agreed(processes, network)
    exchange = sum(map(sum, costs)) + agreed
    compute = share.seconds * _slower(processes)
    moved = max(sum(one.moved(rank) for one in cut) for rank in range(processes))
    return _forecast(
        share,
        processes,
        network,
        memory=sum(share.memory.values()),
        buffers=_held(cut),
        sent=moved,
        received=moved,
        messages=2 * (processes - 1) * len(cut),
        compute=compute,
        exchange=exchange,
        latency=sum(one.latency for one in costs) + agreed,
        iteration=compute + exchange,
    )


def _of_groups(share: Share, ranks: Ranks, processes: int, network: Interconnect) -> Forecast:
    """The same of groups of ``ranks``, each of which sums its arrays with those of that rank in all groups."""
    each, groups = ranks.size, processes // ranks.size
    across = network.every(each)
    cuts = [bucketed_of(ranks.sums, groups, rank) for rank in range(each)]
    costs = [[_cost(one.nbytes, groups, across, share.bandwidth) for one in cut] for cut in cuts]
    summing = [Cost(sum(c.latency for c in one), sum(c.wire + c.sums for c in one)) for one in costs]
    first = _widest(each, groups, network)

    def message(one: int, other: int, nbytes: int) -> Cost:
        latency, bandwidth = network.between_two(first + one, first + other, processes)
        trips = 1 if nbytes <= AT_ONCE else 2  # before many bytes move the two ranks meet
        return Cost(trips * latency, nbytes / bandwidth)

    played = play(ranks, message, summing, _slower(processes))
    agreed, traffic = _agreed(processes, network), [ranks.traffic(rank) for rank in range(each)]
    moved = [max((sum(one.moved(place) for one in cut) for place in range(groups)), default=0) for cut in cuts]
    return _forecast(
        share,
        processes,
        network,
        memory=ranks.held(),
        buffers=max(map(_held, cuts)),
        sent=max(one.sent + more for one, more in zip(traffic, moved, strict=True)),
        received=max(one.received + more for one, more in zip(traffic, moved, strict=True)),
        messages=max(one.messages + 2 * (groups - 1) * len(cut) for one, cut in zip(traffic, cuts, strict=True)),
        compute=played.compute,
        exchange=played.exchange + agreed,
        latency=played.latency + agreed,
        iteration=played.iteration + agreed,
    )


def _forecast(share: Share, processes: int, network: Interconnect, **found: Any) -> Forecast:
    """What was found, and what follows from it."""
    groups = processes // share.each
    return Forecast(
        network=network.name,
        processes=processes,
        each=share.each,
        nodes=network.nodes(processes),
        batch=share.images * groups,
        images=share.images,
        rate=share.images * groups / found["iteration"],
        efficiency=share.seconds / (share.each * found["iteration"]),
        binds=_binding(share, found["memory"] + found["buffers"], found["exchange"], found["compute"]),
        **found,
    )


def _slower(processes: int) -> float:
    """By how much the slowest of so many takes longer."""
    return 1.0 + _JITTER * sqrt(2.0 * log(processes))


def _agreed(processes: int, network: Interconnect) -> float:
    """Seconds of an iteration's agreement."""
    return 2 * _hops(processes) * _slowest(processes, network).latency


def _widest(each: int, groups: int, network: Interconnect) -> int:
    """The first process of the group that lies in most nodes."""

    def nodes(first: int) -> int:
        return (first + each - 1) // network.processes - first // network.processes

    return max((each * group for group in range(min(groups, network.processes))), key=nodes)


class _Cost(NamedTuple):
    """Seconds of a bucket: messages whatever their size, bytes on the wire, sums in memory."""

    latency: float
    wire: float
    sums: float


def _cost(nbytes: int, processes: int, network: Interconnect, bandwidth: float) -> _Cost:
    """Of a bucket that all processes exchange at the same time.

    The alltoall sends each process its part at once; from a node leaves what each of its processes has for those of
    others. The allgather goes round in a ring, of which one link leads out of a node.
    """
    here, part = network.here(processes), nbytes / processes
    slowest = _slowest(processes, network)
    direct = (here - 1) * network.within.latency + (processes - here) * network.between.latency
    latency = _hops(processes) * slowest.latency + direct + (processes - 1) * slowest.latency
    inside, outside = network.within.bandwidth, network.between.bandwidth
    scatter = max((here - 1) * part / inside, here * (processes - here) * part / outside)
    leaves = outside if processes > here else inside
    gather = (processes - 1) * part / min(inside if here > 1 else leaves, leaves)
    return _Cost(latency, scatter + gather, (processes - 1) * part * _TRAFFIC / bandwidth)


def _hops(processes: int) -> int:
    """Messages one after the other of a barrier."""
    return ceil(log2(processes))


def _slowest(processes: int, network: Interconnect) -> Link:
    return network.between if processes > network.processes else network.within


def _held(cut: Sequence[Bucket]) -> int:
    """Bytes that a process takes for the exchange itself: others' values of its part, and what is packed."""
    received = max((4 * one.received for one in cut), default=0)
    return received + sum(one.nbytes for one in cut if one.is_packed)


def _binding(share: Share, nbytes: int, exchange: float, compute: float) -> Binding:
    if share.room is not None and nbytes > share.room:
        return "memory"
    return "network" if exchange > compute else "compute"
