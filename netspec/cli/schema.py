"""``netspec schema``: the JSON Schema of specs."""

from __future__ import annotations

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load_plugins


@click.command()
@options.plugins
def command(plugins: tuple[str, ...]) -> None:
    """Print the JSON Schema (draft 2020-12) of specs, with the attributes of every layer type.

    Editors complete and check specs with it. For VS Code's YAML extension write it to a file and begin a spec with
    the line below.

    \b
    Examples:
      netspec schema > netspec.schema.json
      # yaml-language-server: $schema=netspec.schema.json
    """
    from netspec.spec import schema

    load_plugins(plugins)
    emit_json(schema())
