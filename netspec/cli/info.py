"""``netspec info``: a network in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load
from netspec.units import count, many, percent, scaled, shape, size

if TYPE_CHECKING:
    from netspec.contract.kernel import Phase
    from netspec.report.summary import Summary
    from netspec.report.tables import Table


@click.command()
@options.spec_or_run
@options.phase
@options.kinds
@options.overrides
@options.batch
@options.plugins
@options.as_json
def command(
    spec: str,
    phase: Phase,
    devices: str | None,
    overrides: tuple[str, ...],
    batch: int | None,
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """A network in numbers, layer by layer and device by device, before anything is allocated.

    Shapes are one image's. FLOPs (a multiply-add counts 2) and bytes are one batch's. Memory is what a run, which
    evaluates as well as trains, will allocate on each device: tensors that are not needed at the same time share it. It
    is stated for CPUs unless --devices says cuda. RUN is a run's folder, a folder of runs, of which the newest is
    taken, or a checkpoint.

    \b
    Examples:
      netspec info alexnet
      netspec info alexnet --batch 1 --phase predict
      netspec info alexnet --devices cuda:0,cuda:1 --json
      netspec info runs/quickstart
    """
    from netspec.planning import build, to_plain
    from netspec.report.lowered import lowered
    from netspec.report.summary import summarise
    from netspec.report.tables import show

    loaded = load(spec, overrides, plugins, batch)
    phases: tuple[Phase, ...] = ("train", "eval") if phase == "train" else (phase,)
    plans = [build(loaded, one) for one in phases]
    summary = summarise(plans[0], [lowered(plan, loaded, devices) for plan in plans])
    if as_json:
        emit_json(to_plain(summary))
    else:
        show(f"{summary.name}, {phase}, batch {summary.batch}", *_parts(summary))


def _parts(summary: Summary) -> Iterator[Table | str]:
    yield _layers(summary)
    frozen = f" ({summary.frozen:,} of them frozen)" if summary.frozen else ""
    yield f"{many(summary.parameters, 'parameter')}{frozen}, {many(summary.neurons, 'neuron')}"
    if summary.parameters:
        yield "parameters by type: " + _listed(summary.parameters_by_type)
        yield "parameters by layer: " + _listed(summary.parameters_by_layer)
    if summary.crossings:
        yield _crossings(summary)
    yield _memory(summary)


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {percent(share)}" for name, share in shares.items())


def _layers(summary: Summary) -> Table:
    from netspec.report.tables import table

    columns = ["layer", "type", "device", "output", "parameters", "share", "forward", "backward", "memory"]
    rows = []
    for _, shards in groupby(summary.rows, key=lambda row: row.layer):
        for index, row in enumerate(shards):
            name = (row.layer, row.type) if index == 0 else ("", "")
            numbers = count(row.parameters), percent(row.share) if row.parameters else ""
            work = scaled(row.forward_flops), scaled(row.backward_flops), size(row.bytes)
            rows.append((*name, row.device, shape(row.output), *numbers, *work))
    flops = scaled(summary.forward_flops), scaled(summary.backward_flops)
    held = size(sum(row.bytes for row in summary.rows))
    total = ("total", "", "", "", count(summary.parameters), "", *flops, held)
    title, drop = "layers (forward and backward in FLOP)", ("share", "backward", "forward", "parameters", "type")
    return table(columns, rows, right=columns[4:], drop=drop, total=total, title=title)


def _crossings(summary: Summary) -> Table:
    from netspec.report.tables import table

    rows = [
        (one.layer, str(one.source), f"{one.from_device} -> {one.to_device}", one.direction, size(one.bytes))
        for one in summary.crossings
    ]
    layers = many(len({one.layer for one in summary.crossings}), "layer")
    total = (layers, "", "", "", size(summary.crossing_bytes))
    columns = ["layer", "reads", "from -> to", "pass", "size"]
    return table(columns, rows, right=["size"], total=total, drop=["pass", "reads"], title="crossings between devices")


def _memory(summary: Summary) -> Table:
    from netspec.report.tables import table

    devices = list(summary.memory)
    every = dict.fromkeys(kind for by_kind in summary.memory.values() for kind in by_kind)
    kinds = [kind for kind in every if kind not in ("arena", "total")]
    rows = [(kind, *(size(summary.memory[device].get(kind, 0)) for device in devices)) for kind in kinds]
    plain = [sum(summary.memory[device].get(kind, 0) for kind in kinds) for device in devices]
    rows.append(("sum of buffers", *map(size, plain)))
    total = ("after buffer reuse", *(size(summary.memory[device]["total"]) for device in devices))
    return table(["memory", *devices], rows, right=devices, total=total, title="memory of a run")
