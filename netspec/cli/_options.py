"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from netspec.cli._stdin import STDIN, stdin_plugin
from netspec.errors import NoSuchFile

Command = TypeVar("Command", bound=Callable[..., Any])


def _all_there(ctx: click.Context, param: click.Parameter, paths: tuple[str, ...]) -> tuple[str, ...]:
    for path in paths:
        if path != STDIN and not Path(path).exists():
            raise NoSuchFile(f"{path}: no such plugin file")
    return paths if ctx.resilient_parsing else tuple(stdin_plugin() if path == STDIN else path for path in paths)


spec = click.argument("spec", metavar="SPEC")
"""A spec by path or shipped name."""

spec_or_run = click.argument("spec", metavar="SPEC|RUN")
"""A spec by path or shipped name, or the one that a run or a checkpoint has."""

overrides = click.option(
    "--set",
    "overrides",
    metavar="PATH=VALUE",
    multiple=True,
    help="Change a value of the spec, such as train.solver.learning_rate=0.02 or layers.conv1.filters=64.",
)
"""Repeatable."""

plugins = click.option(
    "--plugin",
    "plugins",
    metavar="FILE|FOLDER",
    multiple=True,
    callback=_all_there,
    help="A Python file with a layer of your own, or a folder of them; - reads one from standard input.",
)
"""Repeatable."""


metrics = click.option(
    "--metric",
    "metrics",
    metavar="METRIC",
    multiple=True,
    help="Measure this too, by its name or as '{type: NAME, ...}'.",
)
"""Repeatable."""


def _trust(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from netspec.registry import trust

        ctx.with_resource(trust.asking())


trust = click.option(
    "--trust",
    is_flag=True,
    expose_value=False,
    callback=_trust,
    help="Run plugins that only the RUN names: code of whoever made it, so read it first.",
)
"""For commands that load the plugins of a run. It holds until the command ends, and the code is remembered."""

SHORT = {
    "epochs": "train.epochs",
    "iterations": "train.iterations",
    "batch": "train.batch",
    "seed": "train.seed",
    "lr": "train.solver.learning_rate",
    "momentum": "train.solver.momentum",
    "weight_decay": "train.solver.weight_decay",
}
"""Options that stand for a path of ``--set``, by the name of their parameter; see netspec.cli._specs.changes."""


def _short(
    name: str, text: str, kind: click.IntRange | click.FloatRange, metavar: str = "N"
) -> Callable[[Command], Command]:
    """An option of ``SHORT``, whose help ends with the path that it stands for."""
    return click.option(f"--{name.replace('_', '-')}", metavar=metavar, type=kind, help=f"{text}: {SHORT[name]}.")


epochs = _short("epochs", "Passes over the training images", click.IntRange(min=1))
iterations = _short("iterations", "Stop after so many batches", click.IntRange(min=1))
batch = _short("batch", "Images a batch, over all devices", click.IntRange(min=1))
seed = _short("seed", "Decides weights, order and augmentation", click.IntRange(min=0))
lr = _short("lr", "Base learning rate", click.FloatRange(min=0), "RATE")
momentum = _short("momentum", "Share of the last step that is kept", click.FloatRange(min=0), "SHARE")
weight_decay = _short("weight_decay", "Weight decay, multiplied by the rate", click.FloatRange(min=0), "DECAY")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON; an error too, on stderr.")
"""Data instead of text."""

phase = click.option(
    "--phase",
    type=click.Choice(["train", "eval", "predict"]),
    default="train",
    show_default=True,
    help="What the network is used for.",
)
"""Train, eval or predict."""

devices = click.option(
    "--devices",
    metavar="NAME,NAME",
    help="What the spec's devices are: cpu, cuda, or a name for each, as in cpu:0,cpu:1 or cuda:0,cuda:0; "
    "netspec run takes ranks too: 0/cpu:0,1/cpu:0 for two processes. By default GPUs if there are any, else CPUs.",
)
"""The binding of logical devices."""

kinds = click.option(
    "--devices",
    metavar="NAME,NAME",
    help="The kinds of device to make the plan ready for: cpu, cuda, or a name for each, as in cuda:0,cuda:0. "
    "None of them need be in this machine.",
)
"""The kinds of device that a plan is made ready for, without opening one."""


def _known(ctx: click.Context, param: click.Parameter, name: str | None) -> str | None:
    """A device that there is a model of."""
    if name is None:
        return None
    from netspec.program.gpu_model import GPUS

    if name.lower() not in GPUS:
        raise click.BadParameter(f"there is no model of '{name}': known are {', '.join(GPUS)}")
    return name.lower()


modelled = click.option(
    "--device",
    "gpu",
    metavar="NAME",
    callback=_known,
    help="Estimate for a GPU that need not be here: h100, h200, a100, rtx3090, rtx4090, rtx5090.",
)
"""A GPU that there is a model of."""


def refuse_measuring(*names: str) -> None:
    """Raise UsageError for options that mean nothing where a model measures nothing, if the command line has them."""
    source = click.get_current_context().get_parameter_source
    for name in names:
        if source(name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--device measures nothing, so --{name} says nothing: leave one of them out")


seconds = click.option(
    "--seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="How long to measure."
)
"""How long iterations are measured."""

runner = click.option(
    "--runner",
    metavar="NAME",
    default="local",
    show_default=True,
    help="local: devices and transfers overlap. serial: one step after the other, for comparison.",
)
"""Which runner executes the program."""

workers = click.option(
    "--workers", metavar="N", type=click.IntRange(min=0), help="Processes that decode images; 0: none beside this one."
)
"""Decoding processes."""

split = click.option(
    "--split", type=click.Choice(["val", "train"]), default="val", show_default=True, help="Which images."
)
"""Which split of a set is evaluated."""

views = click.option(
    "--views",
    type=click.Choice(["1", "2", "10"]),
    help="1: the centre. 2: that and its mirror image, averaged. 10: the corners too.",
)
"""How many crops of an image are seen."""

tags = click.option(
    "--tag", "tags", metavar="TAG", multiple=True, help="A word by which netspec runs finds it; may be repeated."
)
"""Tags of a run."""

note = click.option("--note", metavar="TEXT", help="A line on it, which netspec runs shows.")
"""The note of a run."""

data = click.option(
    "--data",
    metavar="DIR",
    help="Images: a folder or tar of class folders, or with train and val of them. By default what the spec says.",
)
"""Where images come from."""
