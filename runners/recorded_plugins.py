"""The plugins of a run: recorded with it, and loaded again from where they lay only while they are what they were."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from netspec.data.augment import used
from netspec.errors import NetspecError
from netspec.machine.atomic_files import told, write_whole
from netspec.machine.names import argument
from netspec.machine.regular_files import read_regular
from netspec.registry import Plugin, described, layer_types, load_plugin, plugins_of, registered
from netspec.registry.plugin_code import MAX_BYTES, digest_of
from netspec.spec.types import Spec

COPIES = "plugins"
"""The folder of a run directory with the plugin files that the run was started with."""


def used_by(spec: Spec) -> tuple[Plugin, ...]:
    """The code of what the spec names that is not built in."""
    return plugins_of(dict.fromkeys(_named_in(spec)))


def _named_in(spec: Spec) -> Iterator[str]:
    """All that the spec names, as in netspec.registry.registered."""
    for layer in spec.layers:
        yield layer.type
        for name, schema in layer_types()[layer.type].attrs_schema.items():
            if schema.get("x-netspec") == "initialiser" and layer.attrs.get(name):
                yield f"initialisers.{layer.attrs[name]['type']}"
    yield from (f"augmentations.{name}" for name in used(spec.data))
    yield f"solvers.{spec.train.solver['type']}"
    yield f"schedules.{spec.train.schedule['type']}"
    yield f"sources.{spec.data.source['type']}"


class Loaded(NamedTuple):
    """Lines for people: which plugins were loaded again, and what has other code than the run's."""

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
        if any(name not in registered() for name in plugin.types):
            _load(plugin, run)
            notes.append(f"plugin {plugin.file}, as the run was made with")
        found = plugins_of(plugin.types)
        if not found or not all(plugin.same_code(one) for one in found):
            here = ", ".join(_where(one) for one in found) or "built in"
            changes.append(f"{_types(plugin)}: {here}: not the code that the run was made with")
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
            f"{_types(plugin)} is not known here: the run had it from {_where(plugin)}; "
            "install or import that, or name a file that has it: --plugin FILE"
        )
    if changed := plugin.changed():
        gone = not os.path.exists(changed[0])
        what = "is gone" if gone else "is no longer what the run was made with, and has not been loaded"
        raise NetspecError(f"{changed[0]}: the plugin for {_types(plugin)} {what}; {_remedy(plugin, run)}")
    if b"netspec" not in read_regular(plugin.file, MAX_BYTES):  # a checkpoint may name any file
        raise NetspecError(f"{plugin.file}: is no plugin, although the run names it as one; it has not been loaded")
    load_plugin(plugin.file)
    if missing := [described(name) for name in plugin.types if name not in registered()]:
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


def _types(plugin: Plugin) -> str:
    return ", ".join(map(described, plugin.types))


def _where(plugin: Plugin) -> str:
    return f"module {plugin.module}{f' ({plugin.package})' if plugin.package else ''}" if plugin.module else plugin.file
