"""``netspec validate``: every problem of every file, with its line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._exit import complain, complain_spec, located
from netspec.cli._output import emit_json
from netspec.cli._specs import load_plugins, read
from netspec.errors import NetspecError, NoSuchFile, SpecError
from netspec.exit_codes import USAGE, WRONG
from netspec.machine.forks import shared_out
from netspec.units import many

if TYPE_CHECKING:
    from netspec.planning.plan import MakeLayer


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@options.overrides
@options.batch
@options.plugins
@options.as_json
def command(
    files: tuple[str, ...], overrides: tuple[str, ...], batch: int | None, plugins: tuple[str, ...], as_json: bool
) -> int:
    """Check specs: the file itself, the plans made from it, and all else that 'run' asks of a spec.

    Shows all that is wrong with a spec, each with its line. What lies outside of it is not looked at, but for the
    checkpoint of train.init_from: images in folders and archives, and what this machine has. Exits with 0 when every
    spec holds, 1 when one is wrong, 2 when a file is not there.

    \b
    Examples:
      netspec validate specs/*.yaml
      netspec validate mine.yaml --set layers.conv1.filters=63
      netspec validate mine.yaml --plugin my_layer.py
    """
    from netspec.planning import make_once

    load_plugins(plugins)
    results = shared_out(partial(_check, overrides=overrides, batch=batch, make=make_once()), files)
    if as_json:
        emit_json([result.data() for result in results])
    else:
        for result in results:
            result.tell()
    return max(result.code for result in results)


@dataclass(frozen=True)
class _Result:
    """What became of one file."""

    file: str
    error: Exception | None = None
    said: str = ""
    notes: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        """The exit code it asks for."""
        return USAGE if isinstance(self.error, NoSuchFile) else WRONG if self.error else 0

    def tell(self) -> None:
        """One line on stdout for a spec that holds, problems on stderr."""
        if self.error is None:
            click.echo(f"{self.file}: {self.said}")
            for note in self.notes:
                click.echo(f"  {note}")
        elif isinstance(self.error, SpecError):
            sys.stdout.flush()
            complain_spec(self.error)
        else:
            complain(str(self.error))

    def data(self) -> dict[str, Any]:
        """The same as plain data."""
        return {"file": self.file, "valid": self.error is None, "problems": self._problems(), "notes": self.notes}

    def _problems(self) -> list[dict[str, Any]]:
        if not isinstance(self.error, SpecError):
            return [{"message": str(self.error)}] if self.error else []
        return [{**(one := located(problem)), "file": one["file"] or self.file} for problem in self.error.problems]


def _check(file: str, overrides: tuple[str, ...], batch: int | None, make: MakeLayer) -> _Result:
    from netspec.planning import check
    from netspec.spec.class_counts import assumed

    try:
        spec = read(file, overrides, batch)
        notes = (*check(spec, make), *assumed(spec))
        if spec.train.init_from and spec.train.init_from.path:
            from netspec.runners.training.init_from import check_start

            notes += check_start(spec)
    except NetspecError as error:
        return _Result(file, error)
    layers, devices = many(len(spec.layers), "layer"), many(len(spec.devices), "device")
    return _Result(file, said=f"valid, {layers} on {devices}", notes=notes)
