"""``netspec schema``: the JSON Schema of specs, and of what commands print."""

from __future__ import annotations

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load_plugins


@click.command()
@click.option("--of", "output", metavar="NAME", help="Of what a command prints with --json, of metrics, or of error.")
@options.plugins
def command(output: str | None, plugins: tuple[str, ...]) -> None:
    """Print the JSON Schema (draft 2020-12) of specs, with the attributes of every layer type.

    Editors complete and check specs with it, by yaml-language-server: write it to a file, and begin a spec with the
    line below.

    --of metrics is the schema of a line of metrics.jsonl, --of info that of netspec info --json, and so on.

    \b
    Examples:
      netspec schema > netspec.schema.json
      # yaml-language-server: $schema=netspec.schema.json
      netspec schema --of metrics
      netspec schema --of 'layers show'
    """
    from netspec.spec import schema

    if output is not None:
        from netspec.cli._output_schemas import schema_of

        emit_json(schema_of(output))
        return
    load_plugins(plugins)
    emit_json(schema())
