"""``netspec plan``: the steps of an iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load

if TYPE_CHECKING:
    from netspec.contract.kernel import Phase
    from netspec.planning import Plan
    from netspec.planning.identities import BufferKey
    from netspec.planning.plan import Buffer, Pass, Step
    from netspec.program import Program

_MOST_NAMES = 3
"""Steps in one that are all named."""


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
    """Print the steps of one iteration in order: device, queue, and the steps each has to wait for.

    Steps of one queue run one after the other; "after" names those of other queues that must have finished. Where any
    products are not of float32, "products" has their precision and "writes" the dtypes of what a step writes. With
    --devices the plan is lowered for these kinds of device, and each step shows its kernels and their variant, and
    after a "+" the layers that run in it as well (train.fuse); of many steps in one the first two are named. Kernels
    marked "once" run again only when parameters have changed. Where names have ranks, as in 0/cpu:0,1/cpu:0, the steps
    of each rank follow each other, with what it sends and receives. RUN is a run's folder, a folder of runs, of which
    the newest is taken, or a checkpoint.

    \b
    Examples:
      netspec plan quickstart
      netspec plan alexnet --phase predict --batch 1
      netspec plan alexnet --devices cpu:0,cpu:1 --json
    """
    from netspec.planning import build, to_plain
    from netspec.report.lowered import by_rank, storage_at
    from netspec.report.network_tables import network

    loaded = load(spec, overrides, plugins, batch)
    plan = build(loaded, phase, storage=storage_at(loaded, devices))
    programs = by_rank(plan, loaded, devices) if devices is not None else []
    shown: Sequence[Plan | Program] = programs or [plan]
    if as_json:
        emit_json(to_plain(shown if len(shown) > 1 else shown[0]))
        return
    for one, traffic in zip(shown, network(programs) or [""], strict=True):
        _show(one, traffic, with_kernels=bool(programs))


def _show(data: Plan | Program, traffic: str, with_kernels: bool) -> None:
    from netspec.report.tables import show, table
    from netspec.units import many

    steps = data.steps
    with_dtypes = any(map(_products, steps))
    dtypes = ["writes", "products"] * with_dtypes
    columns = ["step", "device", "queue", "after", "FLOP", "moves", *dtypes, *["kernels"] * with_kernels]
    rows = [[*_row(step), *_dtypes(step, data.buffers) * with_dtypes, *_kernels(step) * with_kernels] for step in steps]
    queues = len({(step.device, step.queue) for step in steps})
    drop = (*reversed(dtypes), "FLOP", "moves", "queue", "device")
    made = table(columns, rows, right=("FLOP", "moves"), fold=("after", "kernels"), drop=drop)
    total = f"{many(len(steps), 'step')} on {many(queues, 'queue')}"
    show(made, f"{traffic}: {total}" if traffic else total)


def _row(step: Step) -> list[str]:
    from netspec.units import scaled, size

    name, after = _names((step.name, *step.others)), ", ".join(map(str, step.after))
    return [name, step.device, step.queue, after, scaled(step.flops), size(step.bytes)]


def _names(names: Sequence[str]) -> str:
    """Those of a step that others run in; of many the first two, which the JSON form lists all."""
    return " + ".join(names) if len(names) <= _MOST_NAMES else f"{' + '.join(names[:2])} and {len(names) - 2} more"


def _dtypes(step: Step, buffers: Mapping[BufferKey, Buffer]) -> list[str]:
    return [", ".join(dict.fromkeys(buffers[step.args[one].buffer].dtype for one in step.writes)), _products(step)]


def _kernels(step: Step) -> list[str]:
    return [", ".join(" + ".join(map(_kernel, (one, *one.then))) for one in step.passes)]


def _products(step: Step) -> str:
    """The precision of factors and that of their sums, where one is not float32."""
    different = (step.compute, step.accumulate) != ("float32", "float32")
    return f"{step.compute} to {step.accumulate}" if different else ""


def _kernel(one: Pass) -> str:
    return f"{one.kernel} ({one.variant}{', once' if one.once else ''})"
