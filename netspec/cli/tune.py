"""``netspec tune``: time kernels on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import find, load
from netspec.units import milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netspec._types import Tuned
    from netspec.contract.kernel import Phase
    from netspec.spec.types import Spec


@click.command()
@options.spec
@options.devices
@click.option(
    "--phase",
    "phases",
    type=click.Choice(["train", "eval", "predict"]),
    multiple=True,
    default=("train",),
    show_default=True,
    help="What the network is used for; repeatable.",
)
@options.batch
@options.overrides
@options.plugins
@click.option("--forget", is_flag=True, help="Remove what was measured for these devices, and measure nothing.")
@options.as_json
def command(
    spec: str,
    devices: str | None,
    phases: tuple[str, ...],
    batch: int | None,
    overrides: tuple[str, ...],
    plugins: tuple[str, ...],
    forget: bool,
    as_json: bool,
) -> None:
    """Time every kind of kernel that can run a network's layers on this machine's devices, and keep the fastest.

    What is taken without measuring gives way only to a kind that is 2 % faster in pairs too, both timed in turn.
    A kind that gives other results than the plain kernels, beyond its error bound, is named and left out.
    The table lies beside the compiled kernels and holds for devices of the same model. Runs say which layers follow it.
    Another kernel rounds differently: a run goes on to the same bits only with the table it began with.

    \b
    Examples:
      netspec tune alexnet
      netspec tune alexnet --devices cuda:0,cuda:0 --set train.precision=bf16
      netspec tune alexnet --phase predict --batch 1
      netspec tune alexnet --forget
    """
    find(spec)
    loaded = load(spec, overrides, plugins, batch)
    if forget:
        _forget(loaded, devices, as_json)
        return
    from netspec.api import tune
    from netspec.report.progress import shown

    chosen = cast("Sequence[Phase]", phases)
    with shown():
        found = tune(loaded, devices=devices, phases=chosen, tell=None if as_json else _tell, progress=False)
    if as_json:
        emit_json(found)
    elif not found:
        click.echo("each layer has one kind of kernel for these devices: there is nothing to choose")
    else:
        _summary(found)


def _tell(one: Tuned) -> None:
    times = sorted(one.milliseconds.items(), key=lambda pair: pair[1])
    mark = "" if one.variant == one.preferred else f"  (otherwise {one.preferred})"
    if one.unconfirmed:
        mark += f"  ({one.variant} before {', '.join(one.unconfirmed)}: not faster when timed in pairs)"
    told = f"{one.step:<28} " + ", ".join(f"{name} {milliseconds(ms)}" for name, ms in times) + mark
    click.echo(told, file=sys.stdout)  # as it is now: progress shows beneath
    for name, fault in one.wrong.items():
        click.echo(f"  {name} is WRONG here and left out: {fault}", file=sys.stdout)


def _summary(found: Sequence[Tuned]) -> None:
    from netspec.program.tuning_table import table_path

    changed = sum(one.variant != one.preferred for one in found)
    wrong = sum(bool(one.wrong) for one in found)
    faults = f", {wrong} of them with kernels that are wrong on this machine" if wrong else ""
    click.echo(f"{len(found)} choices, {changed} of them other than without measuring{faults}")
    for model in dict.fromkeys(one.device for one in found):
        click.echo(f"kept for {model}: {table_path(model)}")


def _forget(spec: Spec, devices: str | None, as_json: bool) -> None:
    from netspec.device.binding import bind, models
    from netspec.program.tuning_table import forget

    names, _ = bind(spec.devices, None if devices is None else [devices])
    paths = forget(models(dict(zip(spec.devices, names, strict=True))).values())
    if as_json:
        emit_json({"removed": [str(path) for path in paths]})
        return
    click.echo("\n".join(f"removed {path}" for path in paths) or "nothing was measured for these devices")
