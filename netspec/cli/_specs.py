"""What commands do with a SPEC argument: plugins first, then the file, then the spec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netspec.cli._exit import NotFoundError
from netspec.errors import NetspecError

if TYPE_CHECKING:
    from netspec.spec.types import Spec


def load(spec: str, overrides: Sequence[str] = (), plugins: Sequence[str] = (), batch: int | None = None) -> Spec:
    """The spec of that path or shipped name, with its plugins; raises as ``read`` does."""
    load_plugins(plugins)
    return read(spec, overrides, batch)


def read(spec: str, overrides: Sequence[str] = (), batch: int | None = None) -> Spec:
    """The spec of that path or shipped name; ``batch`` is one more override.

    Raises NotFoundError where there is no such file, SpecError where it is wrong.
    """
    from netspec.spec import load as load_spec

    more = [f"train.batch={batch}"] if batch is not None else []
    return load_spec(find(spec), [*overrides, *more])


def find(spec: str) -> Path:
    """The file of a SPEC argument; NotFoundError, one line with the nearest name, where there is none."""
    from netspec.spec import files

    try:
        return files.find(spec)
    except NetspecError as error:
        raise NotFoundError(str(error)) from error


def load_plugins(plugins: Sequence[str]) -> None:
    """Import the files of ``--plugin``; report installed plugins that cannot be imported."""
    from netspec.registry import installed_faults, load_plugin

    for path in plugins:
        load_plugin(path)
    for line in installed_faults():
        click.echo(f"note: {line}", err=True)
