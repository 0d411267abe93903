"""``netspec new``: a spec that fits a person's own images."""

from __future__ import annotations

from pathlib import Path

import click

from netspec.cli import _options as options
from netspec.cli._specs import find, load_plugins
from netspec.errors import NetspecError, NoSuchFile, printable


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--data", metavar="DIR", required=True, help="Your images: a folder or tar of class folders.")
@click.option("--from", "base", metavar="SPEC", help="The net to build on, a file or a shipped name.")
@options.plugins
@click.option("--force", is_flag=True, help="Write over FILE where it is there.")
def command(file: Path, data: str, base: str | None, plugins: tuple[str, ...], force: bool) -> None:
    """Write a commented spec that fits your own images.

    It looks at their number, classes and sizes, and chooses a net, the size of its images, a batch that fits in memory,
    epochs and learning rate; comments say why. The spec builds on another: small images and few images have small nets,
    unless --from names one. It can be run as it is, and is meant to be changed.

    \b
    Examples:
      netspec new photos.yaml --data photos/
      netspec new photos.yaml --data photos.tar --from alexnet
      netspec run photos.yaml
    """
    if file.suffix not in (".yaml", ".yml"):
        raise click.UsageError(f"{printable(file)}: a spec's name ends in .yaml")
    if file.exists() and not force:
        raise NetspecError(f"{printable(file)}: is there already; --force writes over it")
    if not file.absolute().parent.is_dir():
        raise NoSuchFile(f"{printable(file)}: there is no folder {printable(file.absolute().parent)}")
    load_plugins(plugins)
    if base is not None:
        find(base)
    from netspec.machine.atomic_files import write_text
    from netspec.runners.new_spec import new_spec

    text, notes = new_spec(file, data, base)
    write_text(file, text)
    for note in notes:
        click.echo(note, err=True)
    click.echo(f"{printable(file)}: written; next: netspec run {printable(file)}")
