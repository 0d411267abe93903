"""``netspec``: the list of commands, and how a command ends."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from textwrap import indent

import click

from netspec._version import __version__
from netspec.cli._exit import guarded
from netspec.cli._group import LazyGroup
from netspec.cli._output import open_streams
from netspec.exit_codes import table
from netspec.machine.garbage import COLLECTED_AFTER

COMMANDS = {
    "Look at a network": {
        "specs": "The networks that come with netspec, a line each.",
        "validate": "Check specs and show all that is wrong.",
        "info": "Layers, parameters, FLOPs, crossings and memory.",
        "show": "The spec after extends, defaults and --set.",
        "graph": "Draw it: SVG, Mermaid or Graphviz.",
        "plan": "The steps that run, with queues and dependencies.",
        "schema": "The JSON Schema of specs, for editors.",
    },
    "Train and use it": {
        "new": "Write a spec that fits your own images.",
        "run": "Train a network, or resume a run.",
        "lr-find": "Look for a learning rate: losses at rising rates.",
        "sweep": "Train several specs with several seeds: one table.",
        "eval": "Errors of trained networks over a set of images.",
        "predict": "What a trained network sees in images.",
        "table": "The paper's tables, with your own runs below.",
        "features": "Write a layer's activations to a file.",
        "export": "Write a trained network as ONNX or for PyTorch.",
        "import": "Make a checkpoint of another program's network.",
    },
    "Look at runs": {
        "runs": "List runs, with what tells them apart.",
        "tag": "Give a run tags and a note.",
        "compare": "How two runs differ, in spec and in result.",
        "curves": "Loss, errors and learning rate over epochs.",
        "figure": "Draw runs and networks for a paper: SVG, PNG, PDF.",
        "report": "Runs as one self-contained HTML page.",
        "watch": "The same page on this machine, while runs go on.",
    },
    "Find your way": {
        "data": "Prepare images to train from, measure them, look at them.",
        "layers": "List, explain and check layer types.",
        "devices": "The devices of this machine.",
        "estimate": "Time, memory and disk of a training here.",
        "tune": "Time kernels on this machine, and keep the fastest.",
        "cache": "What is kept of compiled kernels, and clear it.",
        "doctor": "Check that this machine is ready; what a bug report needs.",
        "completion": "The script that lets a shell complete all of this.",
        "help": "What a command takes, with examples.",
    },
}
MEANT = {
    **dict.fromkeys(("train", "fit", "start"), "run"),
    **dict.fromkeys(("resume", "continue"), "run --resume RUN"),
    **dict.fromkeys(("finetune", "fine-tune", "transfer"), "run --init-from RUN"),
    **dict.fromkeys(("evaluate", "test", "score", "accuracy"), "eval"),
    **dict.fromkeys(("infer", "inference", "classify", "recognise", "recognize"), "predict"),
    **dict.fromkeys(("convert", "load", "pretrained"), "import"),
    **dict.fromkeys(("extract", "embed", "activations", "embeddings"), "features"),
    **dict.fromkeys(("check", "lint", "verify"), "validate"),
    **dict.fromkeys(("summary", "summarize", "summarise", "inspect", "describe", "params"), "info"),
    **dict.fromkeys(("cat", "print", "resolve"), "show"),
    **dict.fromkeys(("draw", "diagram", "visualize", "visualise", "viz"), "graph"),
    **dict.fromkeys(("plot", "history", "metrics", "log", "logs"), "curves"),
    **dict.fromkeys(("figures", "chart"), "figure"),
    **dict.fromkeys(("ls", "list", "jobs", "experiments"), "runs"),
    **dict.fromkeys(("models", "zoo", "networks", "examples"), "specs"),
    **dict.fromkeys(("note", "label", "annotate"), "tag"),
    **dict.fromkeys(("diff", "cmp"), "compare"),
    **dict.fromkeys(("grid", "search", "ablate", "ablation"), "sweep"),
    **dict.fromkeys(("serve", "dashboard", "monitor"), "watch"),
    **dict.fromkeys(("bench", "benchmark", "autotune", "profile"), "tune"),
    **dict.fromkeys(("gpus", "gpu", "cpus"), "devices"),
    **dict.fromkeys(("init", "create", "scaffold"), "new"),
    **dict.fromkeys(("prepare", "download"), "data prepare"),
    **dict.fromkeys(("stats", "statistics"), "data stats"),
    **dict.fromkeys(("layer", "types", "ops"), "layers"),
    **dict.fromkeys(("complete", "autocomplete"), "completion"),
    **dict.fromkeys(("env", "diagnose"), "doctor"),
    "version": "--version",
}
"""What other programs, and people, call a command; one that is not there is not suggested."""


_EPILOG = "\b\nExit codes:\n" + indent(table(), "  ")


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    package="netspec.cli",
    table=COMMANDS,
    meant=MEANT,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message=f"netspec, version {__version__}")
def cli() -> None:
    """Neural networks split over devices, written as a YAML spec and trained from one command.

    SPEC is the path of a YAML file, or the bare name of a shipped spec such as alexnet.

    \b
    First steps:
      netspec run quickstart       train a small network on two devices, in under a minute
      netspec info alexnet         look at a large one
      netspec run alexnet          train it; --data DIR gives it your images
      netspec specs                the other networks that come with it
      netspec COMMAND --help       what a command takes, with examples
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit, as netspec/exit_codes.py has it."""
    gc.set_threshold(*COLLECTED_AFTER)
    open_streams()
    if "_NETSPEC_COMPLETE" in os.environ:
        from netspec.cli._completion import answer

        answer(cli)
        raise SystemExit(0)
    code = outcome(sys.argv[1:] if args is None else list(args))
    if code:
        from netspec.machine.ranks import end_all_before_start

        end_all_before_start(code)
    gc.freeze()  # Python looks for cycles once more at its end, when all memory is given back anyway
    raise SystemExit(code)


def outcome(words: list[str]) -> int:
    """The exit code of a command line; what is wrong is told on stderr, as JSON where --json is among its options."""
    as_json = "--json" in words[: words.index("--") if "--" in words else None]
    return guarded(lambda: cli.main(args=words, prog_name="netspec", standalone_mode=False), as_json)
