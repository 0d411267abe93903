"""What ``netspec info`` prints: rows and totals from a Plan, memory from a Program. Plain data, JSON as it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from netspec.program import memory

if TYPE_CHECKING:
    from netspec.planning import Crossing, Plan, ShardInfo
    from netspec.program import Program


@dataclass(frozen=True, slots=True)
class Row:
    """One layer on one device; bytes are those of its own tensors, before memory is used again."""

    layer: str
    type: str
    device: str
    output: tuple[int, ...]
    dtype: str
    parameters: int
    share: float
    neurons: int
    forward_flops: int
    backward_flops: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A network in numbers; FLOPs and bytes are for one batch, or for each of the ``replicas`` that it is cut into.

    ``batch`` counts the images of all of them. ``storage`` is the dtype of activations and of their gradients.
    """

    name: str
    batch: int
    replicas: int
    storage: str
    devices: tuple[str, ...]
    rows: tuple[Row, ...]
    parameters: int
    frozen: int
    parameters_by_layer: Mapping[str, float]
    parameters_by_type: Mapping[str, float]
    neurons: int
    forward_flops: int
    backward_flops: int
    crossings: tuple[Crossing, ...]
    crossing_bytes: int
    memory: Mapping[str, Mapping[str, int]]


def summarise(plan: Plan, programs: Sequence[Program]) -> Summary:
    """The numbers of a plan, and of the memory that the programs of a run take."""
    total = sum(shard.parameters for shard in plan.shards if not shard.copied)
    own = _own_bytes(plan)
    rows = tuple(_row(shard, total, own) for shard in plan.shards)
    return Summary(
        name=plan.name,
        batch=plan.batch * plan.replicas,
        replicas=plan.replicas,
        storage=plan.storage,
        devices=plan.devices,
        rows=rows,
        parameters=total,
        frozen=total - _trained(plan) if plan.phase == "train" else 0,
        parameters_by_layer=_shares(rows, lambda row: row.layer),
        parameters_by_type=_shares(rows, lambda row: row.type),
        neurons=sum(row.neurons for row in rows),
        forward_flops=sum(row.forward_flops for row in rows),
        backward_flops=sum(row.backward_flops for row in rows),
        crossings=plan.crossings,
        crossing_bytes=sum(crossing.bytes for crossing in plan.crossings),
        memory=memory(programs),
    )


def _trained(plan: Plan) -> int:
    """Parameters that an iteration updates; those that layers share are counted once."""
    updated = (step.key.target for step in plan.steps if step.op == "update")
    return sum(prod(plan.buffers[key].shape) for key in updated if key is not None)


def _row(shard: ShardInfo, total: int, own: Mapping[tuple[str | None, str], int]) -> Row:
    name, output = next(iter(shard.outputs.items()), ("", ()))
    return Row(
        layer=shard.layer,
        type=shard.type,
        device=shard.device,
        output=tuple(output[1:]),
        dtype=shard.dtypes[name] if name else "",
        parameters=shard.parameters,
        share=shard.parameters / total if total and not shard.copied else 0.0,
        neurons=prod(output[1:]) if shard.params and not shard.copied else 0,
        forward_flops=shard.forward_flops,
        backward_flops=shard.backward_flops,
        bytes=own.get((shard.layer, shard.device), 0),
    )


def _own_bytes(plan: Plan) -> dict[tuple[str | None, str], int]:
    """Bytes of the buffers of each layer's tensors and of their gradients, by layer and device."""
    found: dict[tuple[str | None, str], int] = {}
    for key, buffer in plan.buffers.items():
        place = key.of.layer, key.device
        found[place] = found.get(place, 0) + buffer.nbytes
    return found


def _shares(rows: tuple[Row, ...], key: Callable[[Row], str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for row in rows:
        if row.parameters:
            shares[key(row)] = shares.get(key(row), 0.0) + row.share
    return shares
