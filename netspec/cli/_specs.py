"""What commands do with a SPEC argument: plugins first, then the file, then the spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netspec.cli._options import SHORT
from netspec.cli._runs import newest_run
from netspec.errors import NetspecError, NoSuchFile, printable
from netspec.events import Event, Note

if TYPE_CHECKING:
    from netspec.spec.types import Spec


def load(spec: str, overrides: Sequence[str] = (), plugins: Sequence[str] = (), batch: int | None = None) -> Spec:
    """The spec of that path or shipped name, of a run, a checkpoint, or the newest of a folder of runs, with plugins.

    Raises as ``read`` does, and NetspecError.
    """
    load_plugins(plugins)
    if (recorded := recorded_at(spec)) is None:
        return read(spec, overrides, batch)
    from netspec.runners.recorded_spec import recorded_spec

    return recorded_spec(recorded, tell_notes, changes(overrides, {"batch": batch}), plugins)


def recorded_at(spec: str) -> Path | None:
    """The run or checkpoint that a SPEC argument is; None for a file of YAML and a shipped name."""
    from netspec.spec import files

    path = Path(spec)
    if spec in files.shipped() or not (path.is_dir() or path.suffix.lower() == ".safetensors"):
        return None
    from netspec.runners.recorded_spec import is_recorded

    path = Path(newest_run(spec))
    return path if is_recorded(path) else None


def tell_notes(event: Event) -> None:
    """Notes on stderr."""
    if isinstance(event, Note):
        click.echo(f"note: {event.text}", err=True)


def read(spec: str, overrides: Sequence[str] = (), batch: int | None = None) -> Spec:
    """The spec of that path or shipped name; ``batch`` is one more override.

    Raises NoSuchFile where there is no such file, SpecError where it is wrong, UsageError as ``changes`` does.
    """
    from netspec.spec import load as load_spec

    return load_spec(find(spec), changes(overrides, {"batch": batch}))


def changes(
    overrides: Sequence[str], given: Mapping[str, Any], others: Iterable[tuple[str, str]] = ()
) -> tuple[str, ...]:
    """All changes of a spec as texts of ``--set``: the ``overrides``, and those of ``given`` that are short options.

    ``others`` are further options, each with the path that it decides. Raises UsageError where a path is given in two
    ways.
    """
    from netspec.spec.overrides import assigns

    short = {name: f"{path}={given[name]}" for name, path in SHORT.items() if given.get(name) is not None}
    spelt = {name: f"--{name.replace('_', '-')}" for name in short}
    ways = [*((f"--set {text}", text) for text in overrides), *((spelt[name], text) for name, text in short.items())]
    for option, path in [*((spelt[name], SHORT[name]) for name in short), *others]:
        for other, text in ways:
            if other != option and any(assigns(text, one) for one in _spellings(path)):
                raise click.UsageError(f"{option} and {other} both give {path}: leave one of them out")
    return (*overrides, *short.values())


def _spellings(path: str) -> set[str]:
    """The paths that mean one setting: ``train.sgd`` is short for a solver."""
    rest = path.removeprefix("train.solver.").removeprefix("train.sgd.")
    return {path} if rest == path else {f"train.solver.{rest}", f"train.sgd.{rest}"}


def find(spec: str) -> Path:
    """The file of a SPEC argument; NoSuchFile, one line with the nearest name, where there is none."""
    from netspec.rundir.directory import RESOLVED
    from netspec.spec import files

    try:
        path = files.find(spec)
    except NetspecError as error:
        raise NoSuchFile(str(error)) from error
    if path.is_dir() and (path / RESOLVED).is_file():
        ways = "netspec run --resume resumes it, netspec show --resolved prints its spec"
        raise NetspecError(f"{printable(spec)}: a run, not a spec ({ways})")
    return path


def load_plugins(plugins: Sequence[str]) -> None:
    """Import the files of ``--plugin``; report installed plugins that cannot be imported."""
    from netspec.registry import installed_faults, load_plugin

    for path in plugins:
        load_plugin(path)
    for line in installed_faults():
        click.echo(f"note: {line}", err=True)
