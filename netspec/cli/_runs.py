"""What commands do with a RUN argument that is a folder of runs, or nothing at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from netspec.errors import NetspecError, NoSuchFile, printable
from netspec.machine.names import shell_word
from netspec.machine.ranks import launched
from netspec.units import many

OUT = "runs"
"""Where runs lie unless --out says otherwise."""


def all_runs(given: Iterable[str]) -> tuple[str, ...]:
    """The runs that are named, and those in folders of runs, in the order in which they began; anything else as it is.

    Raises NoSuchFile for a name that is no path but that of runs.
    """
    return tuple(dict.fromkeys(run for one in given for run in reversed(_runs_in(one) or [one])))


def newest_run(given: str, trained: bool = False) -> str:
    """The run of a folder of runs that began last, of those with a checkpoint if ``trained``; anything else as it is.

    Which of several it is is told. Raises as ``all_runs``.
    """
    runs = _runs_in(given)
    kept = [run for run in runs if not trained or _has_checkpoint(run)] or runs
    if len(runs) > 1 and launched().number == 0:
        what = "newest with a checkpoint" if kept[0] != runs[0] else "newest"
        click.echo(f"note: {printable(kept[0])}: the {what} of {many(len(runs), 'run')}", err=True)
    return kept[0] if kept else given


def two_newest(given: str) -> tuple[str, str]:
    """The two runs of a folder that began last, the earlier one first. Raises NetspecError where there are not two."""
    runs = _runs_in(given)
    if len(runs) < 2:
        raise NetspecError(f"{printable(given)}: name two runs to compare, or a folder that holds two")
    return runs[1], runs[0]


def _runs_in(given: str) -> list[str]:
    """The runs of a folder of runs, the newest first; none for anything else."""
    from netspec.rundir.directory import runs_at

    path = Path(given)
    if path.is_dir():
        return [str(run) for run in runs_at(path) if run != path]
    if not path.exists() and path.name == given and runs_at(Path(OUT) / given):
        raise NoSuchFile(f"{given}: no such run (did you mean {shell_word(Path(OUT) / given)}?)")
    return []


def _has_checkpoint(run: str) -> bool:
    return any(Path(run, "checkpoints").glob("*.safetensors"))
