"""``netspec show``: a spec as written, or with everything written out."""

from __future__ import annotations

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import find, load, recorded_at
from netspec.errors import NetspecError


@click.command()
@options.spec_or_run
@click.option("--resolved", is_flag=True, help="Write everything out, with the file and line of each value.")
@options.overrides
@options.batch
@options.plugins
@options.trust
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

    RUN is a run's folder, or a folder of runs, of which the newest is taken: its spec as it was given, or resolved with
    what --resume changed since; or a checkpoint, whose spec is always resolved.

    \b
    Examples:
      netspec show alexnet > mine.yaml
      netspec show alexnet --resolved
      netspec show mine.yaml --set train.solver.momentum=0.8 --json
      netspec show runs/alexnet/2026-01-31_12-00-00 --resolved
    """
    if not (overrides or batch or plugins or as_json) and (text := _written(spec, resolved)) is not None:
        click.echo(text, nl=False)
        return
    from netspec.spec import canonical
    from netspec.spec import resolved as resolve

    loaded = load(spec, overrides, plugins, batch)
    if as_json:
        emit_json(canonical(loaded))
    else:
        click.echo(resolve(loaded), nl=False)


def _written(spec: str, resolved: bool) -> str | None:
    """What lies there as it is shown: a spec file, or a run's, resolved or as given; None where it has to be made."""
    recorded = recorded_at(spec)
    if recorded is None:
        from netspec.spec import files

        return None if resolved else files.read(find(spec))
    if not recorded.is_dir():
        return None
    from netspec.rundir.directory import GIVEN, RESOLVED, changed_later
    from netspec.rundir.run_files import read_text

    if resolved and changed_later(recorded):
        return None
    file = recorded / (RESOLVED if resolved else GIVEN)
    try:
        return read_text(file)
    except FileNotFoundError:
        raise NetspecError(f"{file}: the run has no such file") from None
