"""What a run of several processes will take, before any of them is started.

What each of them computes comes from ``netspec estimate``'s ways, measured here or by the model of a GPU, for its share
of the replicas. What they exchange is what netspec.runners.transport.exchange does between machines, bucket by bucket:
a barrier, an alltoall, sums in memory, an allgather, in one level over all processes. All of it is counted, as if none
were hidden behind the backward pass that it runs beside. A message takes alpha
seconds and each byte beta more, as usual (Thakur, Rabenseifner and Gropp 2005).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log, log2, prod, sqrt
from typing import Literal, NamedTuple

import numpy as np

from netspec.events import Listener
from netspec.machine.environment import cores, host_memory
from netspec.machine.roofline import measured
from netspec.planning import build, check
from netspec.planning.plan import Plan, Region
from netspec.planning.replica_tree import bucket_of, check_processes
from netspec.program.gpu_model import GPUS
from netspec.registry import load_plugin
from netspec.runners.estimate import Estimate, estimate
from netspec.runners.interconnect import Interconnect, Link
from netspec.runners.modelled_estimate import modelled
from netspec.runners.training.request import Request, load_spec, settle
from netspec.runners.transport.exchange import Bucket, buckets
from netspec.spec.types import Spec

_TRAFFIC = 3.0
"""Bytes of memory traffic for each byte that is added: two are read, one is written."""
_JITTER = 0.01
"""The standard deviation of an iteration's time, as a share of it: the slowest of all processes counts."""

Elements = tuple[tuple[int, ...], tuple[int, ...]]
"""Of gradients and next states, in the order in which the backward pass gives them; and of reports, which come last."""
Binding = Literal["compute", "network", "memory"]


@dataclass(frozen=True, slots=True)
class Share:
    """What each process has to do.

    It works ``images`` of each batch in ``seconds``, holds ``memory`` bytes on each of the spec's devices, of ``room``
    that it has, and has arrays of so many ``elements`` to add up with the others; sums in memory move ``bandwidth``
    bytes a second. ``where`` says whose figures these are: a GPU's, or those of a machine that it has to itself.
    """

    name: str
    images: int
    seconds: float
    memory: Mapping[str, int]
    room: int | None
    elements: Elements
    bandwidth: float
    where: str


@dataclass(frozen=True, slots=True)
class Foresight:
    """What ``processes`` on a network take: bytes and seconds of an iteration, of the process that has most.

    ``sent`` bytes leave a process, and as many reach it, in ``messages``. ``latency`` is the part of ``exchange`` that
    messages take whatever their size. ``rate`` counts images a second of all processes; ``efficiency`` is the speedup
    over one process that works the same batch, by their number. ``binds`` is what would have to be better for more.
    """

    network: str
    processes: int
    nodes: int
    batch: int
    images: int
    memory: int
    buffers: int
    sent: int
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
    check_processes(spec, processes)
    check(spec)
    own = (f"replicas={spec.replicas // processes}", f"train.batch={spec.train.batch // processes}")
    one = replace(request, sets=(*request.sets, *own))
    found: Estimate = modelled(one, gpu, None, None) if gpu else estimate(one, seconds, None, None, listener)
    card = GPUS[gpu] if gpu else None
    return Share(
        name=spec.name,
        images=found.batch,
        seconds=found.batch / found.rate,
        memory=found.memory,
        room=card.memory if card else host_memory(),
        elements=exchanged(spec),
        bandwidth=card.copy if card else measured(cores()).bandwidth,
        where=f"an {card.title}, by a model" if card else f"{', '.join(found.devices)} of this machine, measured",
    )


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
    *means, reports = [
        [prod(region.shape_in(plan.buffers[region.buffer].shape)) for region in regions] for regions in summed_by(plan)
    ]
    return tuple(count for counts in means for count in counts), tuple(reports)


def summed_by(plan: Plan) -> list[list[Region]]:
    """What processes sum in each step, in the order of these."""
    steps = (step for step in plan.steps if step.op == "all_reduce")
    return [[step.args[one] for one in step.writes] for step in steps]


def bucketed(elements: Elements, processes: int) -> list[Bucket]:
    """The buckets in which so many processes exchange arrays of so many elements; the arrays take no memory."""
    steps: list[list[int]] = []
    for counts in elements:
        steps.append([])
        for count in counts:
            if 4 * sum(steps[-1]) >= bucket_of(processes):
                steps.append([])
            steps[-1].append(count)
    arrays = ([np.broadcast_to(np.zeros((), np.float32), (count,)) for count in step] for step in steps if step)
    return [bucket for several in arrays for bucket in buckets(several, processes)]


def foresee(share: Share, processes: int, network: Interconnect) -> Foresight:
    """What so many processes take that have such a share each."""
    cut = bucketed(share.elements, processes) if processes > 1 else []
    costs = [_cost(one.nbytes, processes, network, share.bandwidth) for one in cut]
    agreed = 2 * _hops(processes) * _slowest(processes, network).latency
    latency = sum(one.latency for one in costs) + agreed
    exchange = sum(map(sum, costs)) + agreed
    slowest = 1.0 + _JITTER * sqrt(2.0 * log(processes))
    iteration = share.seconds * slowest + exchange
    held = sum(share.memory.values())
    extra = _held(cut)
    return Foresight(
        network=network.name,
        processes=processes,
        nodes=network.nodes(processes),
        batch=share.images * processes,
        images=share.images,
        memory=held,
        buffers=extra,
        sent=max(sum(one.moved(rank) for one in cut) for rank in range(processes)),
        messages=2 * (processes - 1) * len(cut),
        compute=share.seconds * slowest,
        exchange=exchange,
        latency=latency,
        iteration=iteration,
        rate=share.images * processes / iteration,
        efficiency=share.seconds / iteration,
        binds=_binding(share, held + extra, exchange),
    )


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


def _binding(share: Share, nbytes: int, exchange: float) -> Binding:
    if share.room is not None and nbytes > share.room:
        return "memory"
    return "network" if exchange > share.seconds else "compute"
