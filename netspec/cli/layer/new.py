"""``netspec layers new``: a layer to begin with, and its test."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

import click

from netspec.errors import NetspecError, NoSuchFile, printable

KINDS = ("elementwise", "rows", "reduction", "kernels", "cost", "composite")
_TEMPLATES = Path(__file__).parent / "templates"
_TYPE, _CLASS = "my_layer", "MyLayer"
"""What the templates are called, as types and as classes."""


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--kind", type=click.Choice(KINDS), default=KINDS[0], show_default=True, help="What to begin with.")
@click.option("--out", "-o", metavar="DIR", type=click.Path(path_type=Path), default=".", help="Folder to write into.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
def command(name: str, kind: str, out: Path, force: bool) -> None:
    """Write a commented layer, NAME.py, and its test, test_NAME.py, which pass as they are and are meant to be changed.

    \b
    elementwise  a function of single numbers and its derivative, in two lines
    rows         sums along each pixel's channels, and what is made of them
    reduction    sums that are the same bits every time, by barriers on GPUs
    kernels      a layer with weights: a kernel for each gradient
    cost         a cost of numbers and their targets, with what it reports
    composite    a type of layer that is made of other layers

    \b
    Examples:
      netspec layers new soft_step
      netspec layers new row_mean --kind reduction
      netspec layers check row_mean.py
    """
    _check_name(name)
    if not out.is_dir():
        raise NoSuchFile(f"{printable(out)}: there is no such folder")
    texts = {out / f"{name}.py": f"{kind}.py", out / f"test_{name}.py": f"test_{kind}.py"}
    for file in texts:
        if file.exists() and not force:
            raise NetspecError(f"{printable(file)}: is there already; --force writes over it")
    from netspec.machine.atomic_files import write_text

    for file, template in texts.items():
        write_text(file, _named((_TEMPLATES / template).read_text(encoding="utf-8"), name))
        click.echo(f"{printable(file)}: written")
    click.echo(f"next: netspec layers check {printable(next(iter(texts)))}")


def _named(text: str, name: str) -> str:
    """A template under another name; a class is not called as something that a layer imports."""
    from netspec import plugin

    made = "".join(part.capitalize() for part in name.split("_"))
    return text.replace(_TYPE, name).replace(_CLASS, f"{made}Layer" if made in plugin.__all__ else made)


def _check_name(name: str) -> None:
    """A NetspecError for what cannot be the name of a file that Python imports, or of a layer type that is new."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) or keyword.iskeyword(name):
        rule = "small letters, digits and _, beginning with a letter, at most 40, as in soft_step"
        raise NetspecError(f"'{printable(name)}' cannot be the name of a layer's file ({rule})")
    if name in sys.stdlib_module_names or name in ("netspec", "numpy", "numba"):
        raise NetspecError(f"'{name}' is a module of its own, which a file of that name would hide; take another name")
    from netspec.registry import composite_types, layer_types
    from netspec.report.layer_page import source_of

    if (cls := layer_types().get(name) or composite_types().get(name)) is not None:
        where = source_of(cls)
        raise NetspecError(f"there is a layer type '{name}' already, in {printable(where)}; take another name")
