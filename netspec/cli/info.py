"""``netspec info``: a network in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load

if TYPE_CHECKING:
    from netspec.contract.kernel import Phase


@click.command()
@options.spec_or_run
@options.phase
@options.kinds
@options.overrides
@options.batch
@options.plugins
@options.trust
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

    Shapes are one image's. FLOPs (a multiply-add counts 2) and bytes are one batch's, or one replica's where the spec
    has several. Memory is what a run, which evaluates as well as trains, will allocate on each device: tensors that
    are not needed at the same time share it. It is stated for CPUs unless --devices says cuda, but with train.precision
    bf16 for GPUs that store activations in it unless --devices says cpu. RUN is a run's folder, a folder of runs, of
    which the newest is taken, or a checkpoint.

    \b
    Examples:
      netspec info alexnet
      netspec info alexnet --batch 1 --phase predict
      netspec info alexnet --devices cuda:0,cuda:1 --json
      netspec info alexnet --set train.precision=bf16
      netspec info runs/quickstart
    """
    from netspec.planning import build, to_plain
    from netspec.report.lowered import lowered, storage_at, told_of
    from netspec.report.network_tables import memory, numbers
    from netspec.report.summary import summarise
    from netspec.report.tables import show

    loaded = load(spec, overrides, plugins, batch)
    phases: tuple[Phase, ...] = ("train", "eval") if phase == "train" else (phase,)
    storage = storage_at(loaded, devices)
    plans = [build(loaded, one, storage=storage) for one in phases]
    summary = summarise(plans[0], [lowered(plan, loaded, devices) for plan in plans])
    if as_json:
        emit_json(to_plain(summary))
    else:
        title, scaled = f"{summary.name}, {phase}, {plans[0].images}", loaded.train.scaled_rate
        told = (*told_of(loaded, devices), *([scaled] if scaled and phase == "train" else ()))
        show(title, *told, *numbers(summary), memory(summary))
