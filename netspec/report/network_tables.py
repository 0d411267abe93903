"""A network in numbers on the terminal: layers, what crosses between devices, memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from netspec.report.summary import Summary
from netspec.report.tables import Table, table
from netspec.units import count, many, percent, scaled, shape, size

if TYPE_CHECKING:
    from netspec.program import Program


def numbers(summary: Summary) -> Iterator[Table | str]:
    """Layers, parameters and crossings."""
    yield _layers(summary)
    frozen = f" ({summary.frozen:,} of them frozen)" if summary.frozen else ""
    yield f"{many(summary.parameters, 'parameter')}{frozen}, {many(summary.neurons, 'neuron')}"
    if summary.parameters:
        yield "parameters by type: " + _listed(summary.parameters_by_type)
        yield "parameters by layer: " + _listed(summary.parameters_by_layer)
    if summary.crossings:
        yield _crossings(summary)


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {percent(share)}" for name, share in shares.items())


def _layers(summary: Summary) -> Table:
    dtype = ["dtype"] if summary.storage != "float32" else []
    columns = ["layer", "type", "device", "output", *dtype, "parameters", "share", "forward", "backward", "memory"]
    rows = []
    for _, shards in groupby(summary.rows, key=lambda row: row.layer):
        for index, row in enumerate(shards):
            name = (row.layer, row.type) if index == 0 else ("", "")
            numbers = count(row.parameters), percent(row.share) if row.share else ""
            work = scaled(row.forward_flops), scaled(row.backward_flops), size(row.bytes)
            rows.append((*name, row.device, shape(row.output), *([row.dtype] if dtype else []), *numbers, *work))
    flops = scaled(summary.forward_flops), scaled(summary.backward_flops)
    held = size(sum(row.bytes for row in summary.rows))
    total = ("total", *[""] * (3 + len(dtype)), count(summary.parameters), "", *flops, held)
    drop = ("share", *dtype, "backward", "forward", "parameters", "type")
    title = "layers (forward and backward in FLOP)"
    return table(columns, rows, right=columns[4 + len(dtype) :], drop=drop, total=total, title=title)


def _crossings(summary: Summary) -> Table:
    rows = [
        (one.layer, str(one.source), f"{one.from_device} -> {one.to_device}", one.direction, size(one.bytes))
        for one in summary.crossings
    ]
    layers = many(len({one.layer for one in summary.crossings}), "layer")
    total = (layers, "", "", "", size(summary.crossing_bytes))
    columns = ["layer", "reads", "from -> to", "pass", "size"]
    return table(columns, rows, right=["size"], total=total, drop=["pass", "reads"], title="crossings between devices")


def network(programs: Sequence[Program]) -> list[str]:
    """What each rank sends and receives in an iteration; nothing where there is one."""
    return [_traffic(rank, program) for rank, program in enumerate(programs)] if len(programs) > 1 else []


def _traffic(rank: int, program: Program) -> str:
    """What a rank sends and receives in an iteration of its program, or, where replicas are several, in one of them."""
    told = []
    for op, word in (("send", "sends"), ("receive", "receives")):
        steps = [step for step in program.steps if step.op == op]
        told.append(f"{word} {size(sum(step.bytes for step in steps))} in {many(len(steps), 'step')}")
    return f"rank {rank} ({', '.join(program.plan.devices)}) {' and '.join(told)}"


def memory(summary: Summary, title: str = "memory of a run") -> Table:
    """Bytes by kind and device."""
    devices = list(summary.memory)
    every = dict.fromkeys(kind for by_kind in summary.memory.values() for kind in by_kind)
    kinds = [kind for kind in every if kind not in ("arena", "total")]
    rows = [(kind, *(size(summary.memory[device].get(kind, 0)) for device in devices)) for kind in kinds]
    plain = [sum(summary.memory[device].get(kind, 0) for kind in kinds) for device in devices]
    rows.append(("sum of buffers", *map(size, plain)))
    total = ("after buffer reuse", *(size(summary.memory[device]["total"]) for device in devices))
    return table(["memory", *devices], rows, right=devices, total=total, title=title)
