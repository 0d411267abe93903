"""What ``netspec info`` tells: rows and totals from a Plan, memory from a Program. Plain data, JSON as it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

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
    parameters: int
    share: float
    neurons: int
    forward_flops: int
    backward_flops: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A network in numbers; FLOPs and bytes are for one batch."""

    name: str
    batch: int
    devices: tuple[str, ...]
    rows: tuple[Row, ...]
    parameters: int
    parameters_by_layer: Mapping[str, float]
    parameters_by_type: Mapping[str, float]
    neurons: int
    forward_flops: int
    backward_flops: int
    crossings: tuple[Crossing, ...]
    crossing_bytes: int
    memory: Mapping[str, Mapping[str, int]]


def summarise(plan: Plan, program: Program) -> Summary:
    """The numbers of a plan and of the memory that its program takes."""
    total = sum(shard.parameters for shard in plan.shards)
    own = _own_bytes(plan)
    rows = tuple(_row(shard, total, own) for shard in plan.shards)
    return Summary(
        name=plan.name,
        batch=plan.batch,
        devices=plan.devices,
        rows=rows,
        parameters=total,
        parameters_by_layer=_shares(rows, lambda row: row.layer),
        parameters_by_type=_shares(rows, lambda row: row.type),
        neurons=sum(row.neurons for row in rows),
        forward_flops=sum(row.forward_flops for row in rows),
        backward_flops=sum(row.backward_flops for row in rows),
        crossings=plan.crossings,
        crossing_bytes=sum(crossing.bytes for crossing in plan.crossings),
        memory=program.memory(),
    )


def _row(shard: ShardInfo, total: int, own: Mapping[tuple[str, str], int]) -> Row:
    output = next(iter(shard.outputs.values()), ())
    return Row(
        layer=shard.layer,
        type=shard.type,
        device=shard.device,
        output=tuple(output[1:]),
        parameters=shard.parameters,
        share=shard.parameters / total if total else 0.0,
        neurons=prod(output[1:]) if shard.params else 0,
        forward_flops=shard.forward_flops,
        backward_flops=shard.backward_flops,
        bytes=own.get((shard.layer, shard.device), 0),
    )


def _own_bytes(plan: Plan) -> dict[tuple[str, str], int]:
    """Bytes of the buffers named after each layer, by layer and device."""
    found: dict[tuple[str, str], int] = {}
    for buffer in plan.buffers.values():
        name = buffer.name.removeprefix("d_") if "gradient" in buffer.kind else buffer.name
        key = name.partition("@")[0].partition(".")[0], buffer.device
        found[key] = found.get(key, 0) + buffer.nbytes
    return found


def _shares(rows: tuple[Row, ...], key: Callable[[Row], str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for row in rows:
        if row.parameters:
            shares[key(row)] = shares.get(key(row), 0.0) + row.share
    return shares
