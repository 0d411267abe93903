"""The plugins of a run: recorded with it, and loaded again only as what they were, and only where that is trusted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from netspec.data.augment import used
from netspec.errors import NetspecError
from netspec.machine.atomic_files import told, write_whole
from netspec.machine.names import argument
from netspec.machine.regular_files import read_regular
from netspec.registry import Plugin, described, layer_types, load_plugin, plugins_of, registered, trust
from netspec.registry.plugin_code import files_of, load
from netspec.registry.plugin_source import MAX_BYTES, MAX_FILES, Source
from netspec.rundir.directory import CHECKPOINTS, START
from netspec.rundir.run_files import Damaged, read_bytes
from netspec.spec.types import Spec
from netspec.units import many

COPIES = "plugins"
"""The folder of a run directory with the plugins that the run was started with, each below the start of its digest."""
_START_OF_DIGEST = 12


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
    yield from (f"metrics.{one['type']}" for one in spec.train.metrics)
    yield f"sources.{spec.data.source['type']}"


Tell = Callable[[str], None]


def load_again(
    recorded: Iterable[Plugin], given: Sequence[str | Path], tell: Tell, run: Path | None = None
) -> tuple[str, ...]:
    """Load the plugins that are named, then those that a run was made with; lines say what has other code than the run.

    What is recorded is run only where its content is what it was, and where this user trusts that: see
    netspec.registry.trust. ``tell`` hears of each before it is run. ``run`` is the run directory, which has copies.
    Raises NetspecError, with what to type, for what cannot be run.
    """
    for path in given:
        load_plugin(path)
    changes = []
    for plugin in recorded:
        if any(name not in registered() for name in plugin.types):
            _load(plugin, run, tell)
        found = plugins_of(plugin.types)
        if not found or not all(plugin.same_code(one) for one in found):
            here = ", ".join(_where(one) for one in found) or "built in"
            changes.append(f"{_types(plugin)}: {here}: not the code that the run was made with")
    return tuple(changes)


def run_of(path: Path) -> Path | None:
    """The run directory that a path is, or that a checkpoint file lies in; None where it lies elsewhere."""
    if path.is_dir():
        return path
    folder = Path(os.path.realpath(path)).parent
    return folder.parent if folder.name == CHECKPOINTS and os.path.lexists(folder.parent / START) else None


def trust_all(recorded: Iterable[Plugin], run: Path | None) -> list[Path]:
    """Count the plugins of a run as trusted, and give where they lie. Raises NetspecError for one that is not there."""
    by_digest = {plugin.digest: plugin for plugin in recorded if not plugin.module}
    found = {digest: _find(plugin, run).source.path for digest, plugin in by_digest.items()}
    for digest, path in found.items():
        trust.remember(digest, path)
    return [Path(path) for path in found.values()]


def keep_copies(plugins: Iterable[Plugin], run: Path) -> None:
    """Copy the plugins of a run into its directory: the bytes that were run."""
    for plugin in plugins:
        folder = _copy(plugin, run)
        for name, content in files_of(plugin).items():
            place = folder / name
            if _is_there(place, content):
                continue
            for above in (run / COPIES, *_folders(run / COPIES, place.parent)):
                if above.is_symlink():
                    raise Damaged(above, "is a link, which is not followed; a run has files of its own")
            with told(place):
                place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, [content])


def _is_there(place: Path, content: bytes) -> bool:
    with suppress(NetspecError, OSError):
        return read_bytes(place, MAX_BYTES) == content
    return False


def _folders(top: Path, folder: Path) -> Iterator[Path]:
    """The folders below ``top`` down to one of them."""
    parts = folder.relative_to(top).parts
    return (top.joinpath(*parts[: end + 1]) for end in range(len(parts)))


def _copy(plugin: Plugin, run: Path) -> Path:
    """The folder of a run with a copy of what lies in ``plugin.root``."""
    folder = run / COPIES / plugin.digest[:_START_OF_DIGEST]
    return folder / os.path.basename(plugin.root) if plugin.is_folder else folder


# Finding --------------------------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """The code of a recorded plugin, and a line that says where it was."""

    source: Source
    note: str


class _Missing(NamedTuple):
    """Which file is not what was recorded, and what it is."""

    file: str
    reason: str


def _load(plugin: Plugin, run: Path | None, tell: Tell) -> None:
    """Say that a recorded plugin is run, and run it. Raises NetspecError."""
    if plugin.module:
        raise NetspecError(
            f"{_types(plugin)} is not known here: the run had it from {_where(plugin)}; "
            "install or import that, or name a file that has it: --plugin FILE"
        )
    source, note = _find(plugin, run)
    is_trusted = trust.is_trusted(plugin.digest)
    if not (is_trusted or trust.is_asked()):
        raise NetspecError(_untrusted(plugin, source))
    tell(note)
    if not is_trusted:
        tell(f"{source.path}: trusted from now on, as long as it stays as it is")
        trust.remember(plugin.digest, source.path)
    load(source, plugin.file)
    if missing := [described(name) for name in plugin.types if name not in registered()]:
        raise NetspecError(f"{source.path}: does not register {', '.join(missing)}, as the run says it does")


def _untrusted(plugin: Plugin, source: Source) -> str:
    several = f" and {many(len(source.files) - 1, 'other file')} there" if len(source.files) > 1 else ""
    return (
        f"{source.path}: the plugin for {_types(plugin)} has not been run: a run names it, which may be another's, and "
        f"you have never named this code yourself; read it{several}, then add --trust (in Python: netspec.trust)"
    )


def _find(plugin: Plugin, run: Path | None) -> _Found:
    """The recorded files: where they lay, else the run's copies. Raises NetspecError where neither is what it was."""
    found = _read(plugin, Path(plugin.root), is_copy=False)
    if isinstance(found, Source):
        return _Found(found, f"plugin {plugin.file}, as the run was made with")
    copy = _copy(plugin, run) if run else None
    copied = _read(plugin, copy, is_copy=True) if copy and os.path.lexists(copy) else None
    if isinstance(copied, Source):
        now = f"; {option(plugin.file)} takes it as it is now" if os.path.exists(plugin.file) else ""
        return _Found(copied, f"plugin {copied.path}, the run's own copy, since {found.file} {found.reason}{now}")
    if copied is not None:
        raise NetspecError(f"{copied.file}: {copied.reason}, and has not been run; {_remedy(plugin)}")
    text = f"the plugin for {_types(plugin)} {found.reason}, and has not been run"
    raise NetspecError(f"{found.file}: {text}; {_remedy(plugin)}")


def _read(plugin: Plugin, root: Path, is_copy: bool) -> Source | _Missing:
    """The recorded files below a folder, if each is what it was; in a run no link is followed."""
    if odd := _odd_name(plugin):
        return _Missing(plugin.file, f"is recorded with {odd}")
    files = {}
    for name in plugin.digests:
        try:
            files[name] = read_bytes(root / name, MAX_BYTES) if is_copy else read_regular(root / name, MAX_BYTES)
        except Damaged as error:
            return _Missing(str(root / name), error.reason)
        except (NetspecError, OSError):
            gone = not os.path.lexists(root / name)
            return _Missing(str(root / name), "is gone" if gone else "is no longer what the run was made with")
    source = Source(str(root), plugin.entry, files)
    changed = [name for name, digest in source.digests.items() if digest != plugin.digests[name]]
    return _Missing(str(root / changed[0]), "is no longer what the run was made with") if changed else source


def _odd_name(plugin: Plugin) -> str:
    """What is wrong with the names of files in a record, which may be anybody's; empty where nothing is."""
    has_entry = plugin.is_folder or plugin.entry in plugin.digests
    if not (plugin.digests and has_entry) or len(plugin.digests) > MAX_FILES:
        return "no files, or too many"
    if not os.path.isabs(plugin.file):
        return "a relative path"
    for name in plugin.digests:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or str(parts) != name or "\0" in name:
            return f"a file of another folder, {name!r}"
    return ""


def _remedy(plugin: Plugin) -> str:
    """What to type."""
    return f"as it is now: {option(plugin.file)}" if os.path.exists(plugin.file) else "where it lies now: --plugin FILE"


def option(file: str | Path) -> str:
    """The option that names a plugin file, as a shell reads it."""
    return f"--plugin {argument(file)}"


def _types(plugin: Plugin) -> str:
    return ", ".join(map(described, plugin.types))


def _where(plugin: Plugin) -> str:
    return f"module {plugin.module}{f' ({plugin.package})' if plugin.package else ''}" if plugin.module else plugin.file
