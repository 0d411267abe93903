"""Plugins that are named by path, and what identifies the code of what is not built in."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import NamedTuple

from netspec.contract.source_place import raised_at
from netspec.errors import NetspecError, NoSuchFile
from netspec.machine.regular_files import read_regular
from netspec.registry import trust
from netspec.registry.plugin_modules import Package, package_at
from netspec.registry.plugin_source import MAX_BYTES, Source, digest_of, source_at
from netspec.registry.registry import AFTER_INSTALLED, class_of, forget, import_homes, import_installed, registered

VARIABLE = "NETSPEC_PLUGINS"


@dataclass(frozen=True, slots=True)
class Plugin:
    """Code that is not built in, as a run records it.

    ``types`` are the layer types that it registers, and what else, as ``kind.name``: ``augmentations.blur``.
    ``digests`` has the SHA-256 of the file and of those beside it that it imports, by path relative to the file's
    folder; of a folder (``is_folder``) those of all files in it. ``module`` and ``package`` (name and version) are set
    for code that was imported by name, and empty for a file or folder given by path. ``file`` is empty for a class
    defined in a notebook.
    """

    file: str
    types: tuple[str, ...]
    digests: Mapping[str, str] = field(default_factory=dict)
    module: str = ""
    package: str = ""
    is_folder: bool = False

    @property
    def entry(self) -> str:
        """The file that is run, by its name in ``digests``; empty for a folder."""
        return "" if self.is_folder else os.path.basename(self.file)

    @property
    def root(self) -> str:
        """The folder that ``digests`` are relative to."""
        return self.file if self.is_folder else os.path.dirname(self.file)

    @property
    def digest(self) -> str:
        """One SHA-256 for all of it."""
        return digest_of(self.entry, self.digests)

    def same_code(self, other: Plugin) -> bool:
        """Whether both are equal, wherever they lie. Of packages, what both have imported must be."""
        own, others = _contents(self), _contents(other)
        common = own.keys() & others.keys() if self.module and other.module else own.keys() | others.keys()
        return "" in common and all(own.get(key) == others.get(key) for key in common)


def _contents(plugin: Plugin) -> dict[str, str]:
    """The digests; that of the file itself, which may have another name elsewhere, by the empty one."""
    if plugin.is_folder:
        return {"": "folder", **plugin.digests}
    return {"" if name == plugin.entry else name: digest for name, digest in plugin.digests.items()}


class Portable(NamedTuple):
    """A loaded plugin for another process, under the names that it has here, so that its classes can be unpickled."""

    package: str
    source: Source
    file: str


class _Loaded(NamedTuple):
    plugin: Plugin
    source: Source
    package: Package

    @property
    def modules(self) -> set[str]:
        return {self.package.module(file) for file in self.package.modules.values() if file in self.source.files}


_loaded: dict[str, _Loaded] = {}
"""The plugins loaded so far, by the name of the module, or package, that is run."""


def load_plugin(path: str | Path) -> tuple[str, ...]:
    """Run a plugin, a file or a folder, and return what it registered; one that has changed is run again.

    It counts as trusted from then on, since somebody has named it: see netspec.registry.trust. Raises NetspecError when
    it is missing, cannot be imported or registers nothing.
    """
    import_installed()
    return _load_named(path).types


def _load_named(path: str | Path) -> Plugin:
    place = Path(os.path.realpath(path))  # not Path.resolve, which fails where links go in a circle
    if not place.exists():
        raise NoSuchFile(f"{path}: no such plugin file")
    plugin = load(source_at(place))
    if not plugin.types:
        _discard(next(name for name, one in _loaded.items() if one.plugin is plugin))
        raise NetspecError(f"{path}: registers no layer nor anything else; decorate the class with @register('name')")
    trust.remember(plugin.digest, plugin.file)
    return plugin


def types_in(path: str | Path) -> tuple[str, ...]:
    """What a file registers: one that is loaded already, such as a built-in layer's, is not run again."""
    where = os.path.realpath(path)
    known = registered().items()
    builtin = [key for key, cls in known if cls.__module__ not in _loaded and _file_of(cls) == where]
    return tuple(builtin) or load_plugin(path)


def _file_of(cls: type) -> str | None:
    return getattr(sys.modules.get(cls.__module__), "__file__", None)


def load(source: Source, file: str = "", package: str = "") -> Plugin:
    """Run a plugin whose files have been read, unless the same is loaded.

    ``file`` is where it is said to lie, where that is not from where it was read; ``package`` as in ``package_at``.
    Raises NetspecError when it cannot be imported.
    """
    home = package_at(source.root, not source.entry, package)
    known = next((one for one in _loaded.values() if one.source == source), None)
    if known is not None:
        return known.plugin
    again = _discard_changed(home, source)
    home.take(source)
    name = home.module(source.entry) if source.entry else home.name
    plugin = Plugin(file or source.path, (), source.digests, is_folder=not source.entry)
    _loaded[name] = _Loaded(plugin, source, home)
    try:
        home.run(source.entry)
    except (NetspecError, KeyboardInterrupt):
        _discard(name)
        raise
    except BaseException as error:  # a plugin may do anything, end the process too
        _discard(name)
        where, words = raised_at(error, source.path) or source.path, str(error)
        if placed := re.match(rf"({re.escape(source.path)}:\d+): ", words):  # it tells itself of a line
            where, words = placed[1], words[placed.end() :]
        raise NetspecError(f"{where}: cannot be imported: {type(error).__name__}: {words}") from error
    plugin = replace(plugin, types=_types_of(_loaded[name].modules))
    _loaded[name] = _loaded[name]._replace(plugin=plugin)
    for other in again:
        _load_named(other)
    return plugin


def _discard_changed(home: Package, source: Source) -> list[str]:
    """Take out what was loaded of the same path, and of files of other content; what else had those, to load again."""
    changed = {name for name, content in source.files.items() if home.files.get(name, content) != content}
    again = []
    for name, one in list(_loaded.items()):
        is_same = one.source.path == source.path
        if is_same or (one.package is home and changed & one.source.files.keys()):
            _discard(name)
            again += [] if is_same else [one.source.path]
    return again


def _discard(name: str) -> None:
    """Take out a plugin that could not be imported, or is about to be run again, and what it registered."""
    gone = _loaded.pop(name)
    kept = {file for one in _loaded.values() if one.package is gone.package for file in one.source.files}
    for module in gone.package.drop(gone.source.files.keys() - kept):
        forget(module)


def portable(only_others: bool = False) -> list[Portable]:
    """The loaded plugins, for ``adopt`` in another process; or only those that hold more than layers."""
    wanted = [one for one in _loaded.values() if not only_others or any("." in key for key in one.plugin.types)]
    return [Portable(one.package.name, one.source, one.plugin.file) for one in wanted]


def adopt(given: Portable) -> None:
    """Run a plugin that another process has loaded, from the bytes that it had read."""
    import_homes()
    load(given.source, given.file, given.package)


def plugin_files() -> tuple[str, ...]:
    """The plugin files and folders that have been loaded, in order."""
    return tuple(one.plugin.file for one in _loaded.values())


def files_of(plugin: Plugin) -> Mapping[str, bytes]:
    """The contents of a plugin that has been loaded by path, as they were run, by the names in ``digests``."""
    found = (one.source.files for one in _loaded.values() if one.plugin == plugin)
    return next(found, {})


def plugins_of(types: Iterable[str]) -> tuple[Plugin, ...]:
    """The code of those types, as in ``Plugin.types``, that are not built in, each plugin once."""
    modules = dict.fromkeys(class_of(name).__module__ for name in types)
    found = (_plugin(module) for module in modules if module.partition(".")[0] != "netspec")
    return tuple({(one.file, one.module): one for one in found}.values())


def _plugin(module: str) -> Plugin:
    if module in _loaded:
        return _loaded[module].plugin
    for one in _loaded.values():
        if module in one.modules:
            return one.plugin
    types = _types_of({module})
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:  # a notebook
        return Plugin("", types, module=module)
    top = module.partition(".")[0]
    package = {name for name in sys.modules if name == top or name.startswith(top + ".")}
    return Plugin(file, types, _digests(file, package), module, _package(top))


def _package(top: str) -> str:
    """Name and version of the installed package that a top-level module belongs to."""
    return ", ".join(f"{name} {version(name)}" for name in _packages().get(top, ()))


@cache
def _packages() -> Mapping[str, list[str]]:
    return packages_distributions()


def _types_of(modules: set[str]) -> tuple[str, ...]:
    return tuple(key for key, cls in registered(False).items() if cls.__module__ in modules)


def _digests(file: str, modules: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the source files of modules, by path relative to the folder of ``file``."""
    sources = {getattr(sys.modules.get(name), "__file__", None) for name in modules} | {file}
    paths = sorted(source for source in sources if source and source.endswith(".py"))
    return {os.path.relpath(path, os.path.dirname(file)): _digest(path) for path in paths}


def _digest(path: str) -> str:
    """The SHA-256 of a file; empty where it cannot be read."""
    try:
        return sha256(read_regular(path, MAX_BYTES)).hexdigest()
    except NetspecError:
        return ""


# The environment ------------------------------------------------------------------------------------------------------

_done: list[str] = []
"""The value of the variable whose plugins are loaded."""


def named_in_environment() -> tuple[str, ...]:
    """The paths that NETSPEC_PLUGINS names, with ``:`` between them."""
    return tuple(path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path)


def load_environment() -> None:
    """Load what the variable names, once. Raises NetspecError as ``load_plugin`` does, each time that it is tried."""
    value = os.environ.get(VARIABLE, "")
    if _done == [value]:
        return
    _done[:] = [value]
    try:
        for path in _new(named_in_environment()):
            _load_named(path)
    except NetspecError as error:
        _done.clear()
        raise NetspecError(f"{VARIABLE}: {error}") from error


def _new(paths: Iterable[str]) -> Iterator[str]:
    """Those that another process has not handed over; it may have read other content than lies there by now."""
    for path in paths:
        if os.path.realpath(path) not in {one.source.path for one in _loaded.values()}:
            yield path


AFTER_INSTALLED.append(load_environment)
