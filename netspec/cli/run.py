"""``netspec run``: train a network."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import click

from netspec.cli import _options as options
from netspec.cli._runs import newest_run
from netspec.cli._specs import changes, find
from netspec.cli._stdin import STDIN, stdin_plugin
from netspec.machine.cleanup import on_exit

_TRACE = (
    "Write what each queue did when, for chrome://tracing or Perfetto: 200,000 spans, AlexNet's first 1,200 iterations."
)


class _Command(click.Command):
    """Keeps the words of the command line, which --processes hands on."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click."""
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)


_WORDS = "netspec.words"
_POOLS = 3
"""Pools of data workers that a run makes before it trains: for the mean image, for training and for validation."""


@click.command(cls=_Command)
@click.argument("spec", metavar="[SPEC]", required=False)
@options.data
@options.devices
@options.epochs
@options.iterations
@options.batch
@options.seed
@options.lr
@options.momentum
@options.weight_decay
@options.overrides
@options.plugins
@options.trust
@click.option("--out", metavar="DIR", default="runs", show_default=True, help="The run lies in DIR/<name>/<time>/.")
@click.option(
    "--resume", metavar="RUN|latest", help="Resume a run: its folder, a checkpoint file, or latest with a SPEC."
)
@click.option("--init-from", metavar="RUN", help="Start from a run's or checkpoint's parameters: train.init_from.")
@options.runner
@click.option("--trace", metavar="FILE", help=_TRACE)
@options.workers
@options.tags
@options.note
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    help="Start N processes by mpiexec, which share the replicas of each batch, or the devices of one.",
)
@click.option(
    "--engine",
    type=click.Choice(["mpi", "nccl"]),
    default="mpi",
    show_default=True,
    help="By what processes exchange: mpi, through the host's memory, or nccl, from GPU to GPU.",
)
@click.option(
    "--log", metavar="CALLBACK", multiple=True, help="What else hears the run: tensorboard, or a plugin's, by its name."
)
def command(spec: str | None, resume: str | None, processes: int, overrides: tuple[str, ...], **given: Any) -> int:
    """Train a network, and keep the run: specs, checkpoints, metrics, log.

    Without --data it trains on what the spec names, and without that on images it draws itself. Without GPUs it trains
    on CPUs; one line says which. Ctrl-C finishes the iteration and writes a checkpoint; --resume goes on from it, to
    the same bits. A folder of runs stands for the newest of them there, and for --init-from.

    \b
    Examples:
      netspec run quickstart
      netspec run alexnet --data imagenet/ --devices cuda:0,cuda:1
      netspec run mine.yaml --plugin my_layer.py --lr 0.02 --epochs 5
      netspec run mine.yaml --init-from runs/alexnet \\
          --set 'train.freeze=["conv*"]'
      netspec run alexnet --resume latest
      netspec run alexnet --set replicas=4 --processes 4
      netspec run alexnet --devices 0/cpu:0,1/cpu:0 --processes 2
      netspec run --resume runs/alexnet/2026-01-31_12-00-00 --epochs 20
      netspec run alexnet --seed 3 --tag paper --note "without warm-up"
    """
    if spec is None and resume in (None, "latest"):
        raise click.UsageError("name a SPEC, such as quickstart, or a run's folder with --resume")
    if spec is not None:
        find(spec)
    if processes > 1:
        from netspec.runners.transport.launcher import run_processes

        words = _handed_on(click.get_current_context().meta[_WORDS])
        return run_processes(processes, words, given["devices"], given["engine"])
    if resume not in (None, "latest"):
        resume = newest_run(resume)
    if given["init_from"] is not None:
        given["init_from"] = newest_run(given["init_from"], trained=True)
    sets = changes(overrides, given)
    rest = {name: value for name, value in given.items() if name not in options.SHORT}
    from netspec.data.workers.start import dismiss, start_ahead
    from netspec.machine.ranks import launched

    if launched().of == 1 and given["workers"] != 0:
        start_ahead(_POOLS)
    with on_exit(dismiss):
        from netspec.api import run
        from netspec.report.progress import progress

        with progress() if launched().number == 0 else nullcontext() as listener:
            result = run(spec, resume=resume, overrides=sets, listener=listener, **rest)
    code: int = result.exit_code
    return code


def _handed_on(words: Sequence[str]) -> list[str]:
    """The words without the option that starts the processes, and with a file for a plugin on standard input."""
    kept, left = list[str](), iter(words)
    for word in left:
        if word == "--processes":
            next(left, None)
        elif word == STDIN and kept[-1:] == ["--plugin"]:
            kept.append(stdin_plugin())
        elif word == f"--plugin={STDIN}":
            kept.append(f"--plugin={stdin_plugin()}")
        elif not word.startswith("--processes="):
            kept.append(word)
    return kept
