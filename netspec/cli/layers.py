"""``netspec layers``: list, explain and check layer types."""

from __future__ import annotations

import click

from netspec.cli import _options as options
from netspec.cli._group import LazyGroup
from netspec.cli._output import emit_json
from netspec.cli._specs import load_plugins

COMMANDS = {
    "Commands": {
        "new": "Write a layer to begin with, and its test.",
        "show": "What a layer type does: attributes, inputs, outputs, kernels.",
        "try": "Run one layer on an array: outputs and gradients.",
        "check": "Run the contract suite on a layer type or a plugin file.",
        "bench": "Time a layer against the machine's bound, and against PyTorch.",
    }
}


@click.group(cls=LazyGroup, package="netspec.cli.layer", table=COMMANDS, invoke_without_command=True)
@options.plugins
@options.as_json
@click.pass_context
def command(context: click.Context, plugins: tuple[str, ...], as_json: bool) -> None:
    """List the layer types that specs can name: built-in ones, installed plugins', and those of --plugin files.

    \b
    Examples:
      netspec layers
      netspec layers show conv
      netspec layers check my_layer.py
    """
    load_plugins(plugins)
    if context.invoked_subcommand is None:
        _list(as_json)


def _list(as_json: bool) -> None:
    from netspec.registry import layer_types, registered
    from netspec.report.layer_page import backends, summary

    types = dict(sorted(layer_types().items()))
    if as_json:
        emit_json([{"type": name, "summary": summary(cls), "backends": backends(cls)} for name, cls in types.items()])
        return
    from netspec.report.tables import show, table

    rows = [(name, ", ".join(backends(cls)), summary(cls)) for name, cls in types.items()]
    show(table(["type", "kernels for", "what it is"], rows, fold=["what it is"]))
    others = [key.partition(".")[::2] for key in sorted(registered()) if "." in key]
    for kind in dict.fromkeys(kind for kind, _ in others):
        click.echo(f"{kind}: {', '.join(name for one, name in others if one == kind)}")
    click.echo("netspec layers show TYPE tells more")
