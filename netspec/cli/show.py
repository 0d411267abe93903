"""``netspec show``: a spec as written, or with everything written out."""

from __future__ import annotations

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import find, load


@click.command()
@options.spec
@click.option("--resolved", is_flag=True, help="Write everything out, with the file and line of each value.")
@options.overrides
@options.batch
@options.plugins
@options.as_json
def command(
    spec: str,
    resolved: bool,
    overrides: tuple[str, ...],
    batch: int | None,
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print a spec: as it is written, or resolved.

    The resolved spec is a spec again: what extends, defaults and --set did is in it, and each line ends with where its
    value comes from. --set, --batch, --plugin and --json ask for it too.

    \b
    Examples:
      netspec show alexnet > mine.yaml
      netspec show alexnet --resolved
      netspec show mine.yaml --set train.sgd.momentum=0.8 --json
    """
    if not (resolved or overrides or batch or plugins or as_json):
        from netspec.spec import files

        click.echo(files.read(find(spec)), nl=False)
        return
    from netspec.spec import canonical
    from netspec.spec import resolved as resolve

    loaded = load(spec, overrides, plugins, batch)
    if as_json:
        emit_json(canonical(loaded))
    else:
        click.echo(resolve(loaded), nl=False)
