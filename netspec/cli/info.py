"""``netspec info``: a network in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load

if TYPE_CHECKING:
    from netspec.contract.kernel import Phase

_OF_PROCESSES = {"networks": "--network", "gpu": "--device", "seconds": "--seconds"}


def _refuse_alone(processes: int | None) -> None:
    """Options that mean nothing without --processes."""
    source = click.get_current_context().get_parameter_source
    for name, option in _OF_PROCESSES.items():
        if processes is None and source(name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option} says what several processes take: give --processes too")


@click.command()
@options.spec_or_run
@options.phase
@options.kinds
@options.overrides
@options.batch
@options.plugins
@options.trust
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(min=2),
    help="Also predict what a run of N processes takes; none is started.",
)
@click.option(
    "--network",
    "networks",
    metavar="NAME|FILE",
    multiple=True,
    help="What connects them: nvlink+400g, nvlink+100g, 400g, 100g, 10g, or a YAML file; may be repeated. By default "
    "each of these.",
)
@options.modelled
@options.seconds
@options.as_json
def command(
    spec: str,
    phase: Phase,
    devices: str | None,
    overrides: tuple[str, ...],
    batch: int | None,
    plugins: tuple[str, ...],
    as_json: bool,
    processes: int | None,
    networks: tuple[str, ...],
    gpu: str | None,
    seconds: float,
) -> None:
    """A network in numbers, layer by layer and device by device, before anything is allocated.

    Shapes are one image's. FLOPs (a multiply-add counts 2) and bytes are one batch's, or one replica's where the spec
    has several. Memory is what a run, which evaluates as well as trains, will allocate on each device: tensors that
    are not needed at the same time share it. It is stated for CPUs unless --devices says cuda, but with train.precision
    bf16 for GPUs that store activations in it unless --devices says cpu. Where names have ranks, as in 0/cpu:0,1/cpu:0,
    it tells what crosses the network. RUN is a run's folder, a folder of runs, of which the newest is taken, or a
    checkpoint.

    With --processes some seconds of training are measured here, as by 'netspec estimate', for the share that each
    process would have on a machine such as this one, or a model gives them for a GPU (--device); what the processes
    exchange is modelled for each network: bytes, time, efficiency against one process, and what binds.

    \b
    Examples:
      netspec info alexnet
      netspec info alexnet --batch 1 --phase predict
      netspec info alexnet --devices cuda:0,cuda:1 --json
      netspec info alexnet --set train.precision=bf16
      netspec info runs/quickstart
      netspec info alexnet --batch 8192 --set replicas=64 \\
          --processes 64 --device h100
      netspec info quickstart --set replicas=4 --processes 4 --network mine.yaml
    """
    _refuse_alone(processes)
    if gpu:
        options.refuse_measuring("seconds")
    if phase != "train" and processes is not None:
        raise click.UsageError("several processes train: leave out --phase, or --processes")
    from netspec.cli._forecast import forecasts, tables
    from netspec.planning import build, to_plain
    from netspec.report.lowered import by_rank, storage_at, told_of
    from netspec.report.network_tables import memory, network, numbers
    from netspec.report.summary import summarise
    from netspec.report.tables import show

    loaded = load(spec, overrides, plugins, batch)
    phases: tuple[Phase, ...] = ("train", "eval") if phase == "train" else (phase,)
    storage = storage_at(loaded, devices)
    plans = [build(loaded, one, storage=storage) for one in phases]
    ranks = [by_rank(plan, loaded, devices) for plan in plans]
    summary = summarise(plans[0], [program for programs in ranks for program in programs])
    ahead = None
    if processes is not None:
        ahead = forecasts(loaded, processes, networks, devices, gpu, seconds)
    if as_json:
        found = {"share": to_plain(ahead[0]), "networks": ahead[1]} if ahead else None
        emit_json({**to_plain(summary), **({"processes": found} if found else {})})
    else:
        title, scaled = f"{summary.name}, {phase}, {plans[0].images}", loaded.train.scaled_rate
        told = (*told_of(loaded, devices), *([scaled] if scaled and phase == "train" else ()))
        memory_of = "memory of a run" + (" in one process, on CPUs" if ahead and not devices else "")
        more = tables(*ahead, is_modelled=gpu is not None) if ahead else ()
        show(title, *told, *numbers(summary), *network(ranks[0]), memory(summary, memory_of), *more)
