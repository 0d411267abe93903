"""The plugins of a run: recorded with it, and loaded again from where they lay only while they are what they were."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from netspec.errors import NetspecError
from netspec.machine.atomic_files import told, write_whole
from netspec.machine.regular_files import read_regular
from netspec.registry import Plugin, layer_types, load_plugin, plugins_of
from netspec.registry.plugin_code import MAX_BYTES, digest_of
from netspec.report.units import argument
from netspec.spec.types import Spec

COPIES = "plugins"
"""The folder of a run directory with the plugin files that the run was started with."""


def used_by(spec: Spec) -> tuple[Plugin, ...]:
    """The code of the spec's layers that are not built in."""
    return plugins_of(layer.type for layer in spec.layers)


class Loaded(NamedTuple):
    """Lines for people: which plugins were loaded again, and which layer types have other code than the run's."""

    notes: tuple[str, ...]
    changes: tuple[str, ...]


def load_again(recorded: Iterable[Plugin], given: Sequence[str | Path], run: Path | None = None) -> Loaded:
    """Load the plugin files that are named, then those that a run was made with.

    A recorded file is run only where its content is what it was. ``run`` is the run directory, which may hold copies.
    Raises NetspecError, with what to type, for one that has changed or is gone.
    """
    for path in given:
        load_plugin(path)
    notes, changes = [], []
    for plugin in recorded:
        if any(name not in layer_types() for name in plugin.types):
            _load(plugin, run)
            notes.append(f"plugin {plugin.file}, as the run was made with")
        found = plugins_of(plugin.types)
        if not found or not all(plugin.same_code(one) for one in found):
            here = ", ".join(_where(one) for one in found) or "a built-in layer"
            changes.append(f"layer type {_quoted(plugin)}: {here}: not the code that the run was made with")
    return Loaded(tuple(notes), tuple(changes))


def keep_copies(plugins: Iterable[Plugin], run: Path) -> None:
    """Copy the plugin files of a run into its directory, with the modules beside them that they import."""
    taken: set[Path] = set()
    for plugin in plugins:
        if plugin.module or plugin.changed():
            continue
        folder, number = run / COPIES, 1
        while folder / os.path.basename(plugin.file) in taken:  # another folder's file of that name
            number += 1
            folder = run / COPIES / str(number)
        taken.add(folder / os.path.basename(plugin.file))
        for name in plugin.digests:
            with told(folder):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, [read_regular(Path(plugin.file).parent / name, MAX_BYTES)])


def _load(plugin: Plugin, run: Path | None) -> None:
    if plugin.module:
        raise NetspecError(
            f"layer type {_quoted(plugin)} is not known here: the run had it from {_where(plugin)}; "
            "install or import that, or name a file that has it: --plugin FILE"
        )
    if changed := plugin.changed():
        gone = not os.path.exists(changed[0])
        what = "is gone" if gone else "is no longer what the run was made with, and has not been loaded"
        raise NetspecError(f"{changed[0]}: the plugin for layer type {_quoted(plugin)} {what}; {_remedy(plugin, run)}")
    if b"netspec" not in read_regular(plugin.file, MAX_BYTES):  # a checkpoint may name any file
        raise NetspecError(f"{plugin.file}: is no plugin, although the run names it as one; it has not been loaded")
    load_plugin(plugin.file)
    if missing := [name for name in plugin.types if name not in layer_types()]:
        raise NetspecError(f"{plugin.file}: does not register {', '.join(missing)}, as the run says it does")


def _remedy(plugin: Plugin, run: Path | None) -> str:
    """What to type; each of the files is there."""
    name = os.path.basename(plugin.file)
    copies = sorted((run / COPIES).rglob(name)) if run else []
    found = [f"as it was: {option(copy)}" for copy in copies if digest_of(str(copy)) == plugin.digest]
    now = f"as it is now: {option(plugin.file)}" if os.path.exists(plugin.file) else "where it lies now: --plugin FILE"
    return "; ".join([*found[:1], now])


def option(file: str | Path) -> str:
    """The option that names a plugin file, as a shell reads it."""
    return f"--plugin {argument(file)}"


def _quoted(plugin: Plugin) -> str:
    return ", ".join(f"'{name}'" for name in plugin.types)


def _where(plugin: Plugin) -> str:
    return f"module {plugin.module}{f' ({plugin.package})' if plugin.package else ''}" if plugin.module else plugin.file
