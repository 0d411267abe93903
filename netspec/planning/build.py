"""Spec -> Plan, for one phase and batch."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from netspec.contract.kernel import Phase
from netspec.contract.tensor import Shape
from netspec.errors import Problem, SpecError
from netspec.planning.backward import Backward
from netspec.planning.builder import Alias, Builder
from netspec.planning.connect import by_rows, fail
from netspec.planning.identities import BufferKey
from netspec.planning.network import Network
from netspec.planning.plan import MakeLayer, Plan, ShardInfo, make_layer
from netspec.planning.race import check_races
from netspec.planning.replica_tree import (
    check_draws,
    check_means,
    check_processes,
    check_replicable,
    check_statistics,
)
from netspec.planning.shards import Shard
from netspec.planning.storage import Storage, storage_of
from netspec.planning.update import Update
from netspec.spec.build import uneven_replicas
from netspec.spec.types import Spec

NUMBERS = "prediction"
"""The output of a cost layer that holds the network's answer where that is numbers, (N, K)."""
ANSWERS = ("probs", NUMBERS)
"""The outputs of cost layers that hold the network's answer; ``probs`` are probabilities of classes."""
_ONE_AFTER_ANOTHER = (
    "replicas, which go forward and backward one after the other: the activations of all would have to be held until "
    "the last is there"
)
_ELSEWHERE = "place the layer on one device, or split it along channels"
_ROWS_APART = "'split: batch', by which each device computes its own rows alone"


def build(
    spec: Spec,
    phase: Phase = "train",
    batch: int | None = None,
    names: Mapping[str, Alias] | None = None,
    processes: int = 1,
    storage: Storage = "float32",
    resident: Mapping[str, Shape] | None = None,
    in_memory: bool = False,
) -> Plan:
    """Resolve a spec for a phase and a batch (default: the spec's own, outside training a replica's share of it).

    ``names`` maps layers of this spec to parts of another's: ``{"conv1b": ("conv1", 48, 96)}`` says that conv1b holds
    channels 48 and on of conv1's 96, so that both read the same checkpoints and draw the same random numbers.
    ``processes`` share out the replicas of a training batch: the plan is that of any of them. ``storage`` is how
    activations are stored, see netspec.planning.storage. ``resident`` has the network inputs whose images, of that
    shape (M, H, W, C), the devices hold: they are fed rows of PLACE. ``in_memory``: the processes see each other's
    gradients, and exchange all at once.

    Raises SpecError with every problem that shapes, placement and connections show.
    """
    check_processes(spec, processes)
    network = Network(spec, phase, _images(spec, phase, batch), processes, storage, resident, in_memory=in_memory)
    builder = _built(Builder(network, names or {}))
    check_races(builder.order.steps)
    return _plan(builder)


def outline(spec: Spec, phase: Phase, steps: bool = True, make: MakeLayer = make_layer) -> Builder:
    """The buffers and steps of a plan, without the order of the steps: no spec is at fault there. Raises as build.

    With bf16 they are those of devices that store it, where less is allowed than elsewhere. Without ``steps`` there are
    none, and few buffers: that is for further phases, as the steps of one show what those of all are refused for.
    ``make`` may give layers that are alike as one.
    """
    storage = storage_of(spec.train.precision, ())
    network = Network(spec, phase, spec.replica_batch, storage=storage, make=make)
    return _built(Builder(network, {}, ordered=False), steps)


def _images(spec: Spec, phase: Phase, batch: int | None) -> int:
    """Images that go through the network at once. Raises SpecError for a batch that the replicas do not divide."""
    if batch is None or phase != "train":
        return batch or spec.replica_batch
    if problem := uneven_replicas(spec.replicas, batch):
        raise fail(spec.marks.get("replicas", spec.mark), *problem)
    return batch // spec.replicas


def _built(builder: Builder, steps: bool = True) -> Builder:
    network = builder.network
    _check_whole(network)
    builder.inputs()
    for shards in network.shards:
        for shard in shards:
            if network.replicas > 1:
                check_replicable(shard)
                check_statistics(shard, _ONE_AFTER_ANOTHER, "leave out 'replicas'")
            if by_rows(shard.spec):
                check_draws(shard, "devices", "leave out 'split: batch'")
                check_means(shard, "devices", _ELSEWHERE, shard.spec.mark_of("split"))
                check_statistics(shard, _ROWS_APART, "leave out 'split: batch'")
            if steps:
                builder.forward(shard)
    if network.phase == "train" and steps:
        backward = Backward(builder)
        backward.run()
        Update(builder, backward).run()
    return builder


def answer_of(network: Network) -> BufferKey | None:
    """Where the network's answer lies: the last cost layer's, or in prediction without one the last layer's output."""
    shards = [shard for group in network.shards for shard in group]
    costs = [shard for shard in shards if shard.layer.reports]
    answers = [shard.outputs[name].key for shard in costs for name in ANSWERS if name in shard.outputs]
    if not answers and network.phase == "predict":
        answers = [next(iter(shards[-1].outputs.values())).key]
    return answers[-1] if answers else None


def _check_whole(network: Network) -> None:
    """Every shard is read by something or is a cost, and in training there is a cost to learn from."""
    read = network.read_parts()
    problems = []
    for shards in network.shards:
        for shard in shards:
            alike = shards if by_rows(shard.spec) else [shard]
            used = any(part.key in read for one in alike for part in one.outputs.values())
            if not used and not shard.layer.reports and network.phase != "predict":
                problems.append(_unread(shard))
    if network.phase == "train" and not any(shard.layer.reports for shards in network.shards for shard in shards):
        message = "no layer is a cost: there is nothing to learn from"
        problems.append(Problem(network.spec.mark, message, "add a softmax_loss"))
    if problems:
        raise SpecError(problems)


def _unread(shard: Shard) -> Problem:
    name = shard.spec.name
    if shard.count == 1 or by_rows(shard.spec):
        return Problem(shard.spec.mark, f"{name}: nobody reads its output", "remove it, or read it")
    return Problem(
        shard.spec.mark,
        f"{name}: nobody reads its part on {shard.device}, which would be lost in silence",
        f"read all of it: {{from: {name}, connect: all}}",
    )


def _plan(builder: Builder) -> Plan:
    network = builder.network
    flops = _flops(builder)
    shards = [shard for group in network.shards for shard in group]
    costs = [shard for shard in shards if shard.layer.reports]
    answer = answer_of(network)
    reports = {s.outputs["report"].key: s.layer.reports for s in costs if "report" in s.outputs}
    return Plan(
        name=network.spec.name,
        phase=network.phase,
        batch=network.batch,
        devices=network.spec.devices,
        buffers=builder.buffers,
        steps=tuple(builder.order.steps),
        shards=tuple(_info(builder, shard, flops) for shard in shards),
        edges=tuple(builder.edges),
        crossings=tuple(builder.crossings),
        initial=builder.initial,
        reports=reports,
        answer=answer,
        rated=builder.rates.rated if network.phase == "train" else (),
        numbers=answer is not None and answer.of.tensor == NUMBERS,
        replicas=network.replicas,
        processes=network.processes,
        storage=network.storage,
    )


def _flops(builder: Builder) -> dict[tuple[str | None, str, str], int]:
    """Operations by layer, device and direction."""
    return {(step.layer, step.device, step.op): step.flops for step in builder.order.steps}


def _info(builder: Builder, shard: Shard, flops: Mapping[tuple[str | None, str, str], int]) -> ShardInfo:
    own, t = shard.spec.share is None, shard.t
    params = {name: t[name].shape for name in (*t.names("parameter"), *t.names("state")) if own}
    outputs = {name: part.tensor for name, part in shard.outputs.items()}
    names = shard.layer.input_names(len(shard.gathers))
    inputs = {name: shard.gathers[name].tensor if name in shard.gathers else None for name in names}
    return ShardInfo(
        layer=shard.spec.name,
        type=shard.spec.type,
        device=shard.device,
        index=shard.index,
        count=shard.count,
        phase=shard.layer.phase,
        attrs=vars(shard.layer.attrs),
        inputs={name: tensor.shape if tensor else None for name, tensor in inputs.items()},
        outputs={name: tensor.shape for name, tensor in outputs.items()},
        dtypes={name: tensor.dtype for name, tensor in {**inputs, **outputs}.items() if tensor},
        params=params,
        parameters=sum(prod(params[name]) for name in t.names("parameter") if own),
        copied=by_rows(shard.spec) and shard.index > 0,
        within=shard.spec.within,
        forward_flops=flops.get((shard.spec.name, shard.device, "forward"), 0),
        backward_flops=flops.get((shard.spec.name, shard.device, "backward"), 0),
        instance=shard.layer,
        tensors=t,
    )
