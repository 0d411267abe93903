"""Plugins: files that are named by path, and what identifies the code of what is not built in."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from importlib.metadata import packages_distributions, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType

from netspec.contract.source_place import raised_at
from netspec.errors import NetspecError
from netspec.machine.regular_files import read_regular
from netspec.registry.registry import forget, import_homes, import_installed, registered

MAX_BYTES = 4 * 2**20
_PREFIX = "netspec_plugin_"
"""What the names of modules begin with that plugin files are loaded as."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """Code that is not built in, as a run records it.

    ``types`` are the layer types that it registers, and what else, as ``kind.name``: ``augmentations.blur``.
    ``digests`` has the SHA-256 of the file and of the modules beside it that it imported, by path relative to the
    file's folder. ``module`` and ``package`` (name and version) are set for code that was imported by name, and empty
    for a file given by path. ``file`` is empty for a class defined in a notebook.
    """

    file: str
    types: tuple[str, ...]
    digests: Mapping[str, str] = field(default_factory=dict)
    module: str = ""
    package: str = ""

    @property
    def digest(self) -> str:
        """The SHA-256 of the file itself."""
        return self.digests.get(os.path.basename(self.file), "")

    def same_code(self, other: Plugin) -> bool:
        """Whether the two files are equal, wherever they lie, and so are the modules that both have imported."""
        common = self.digests.keys() & other.digests.keys()
        return self.digest == other.digest and all(self.digests[key] == other.digests[key] for key in common)

    def changed(self) -> list[str]:
        """The paths whose content on disk is another by now, or which cannot be read."""
        paths = {os.path.normpath(os.path.join(os.path.dirname(self.file), key)): key for key in self.digests}
        return [path for path, key in paths.items() if digest_of(path) != self.digests[key]]


_loaded: dict[str, Plugin] = {}
"""The files loaded so far, by the name of their module."""


def load_plugin(path: str | Path) -> tuple[str, ...]:
    """Run a plugin file and return what it registered, as in ``Plugin.types``; one that has changed is run again.

    Raises NetspecError when the file is missing, cannot be imported or registers nothing.
    """
    import_installed()
    file = Path(path).resolve()
    if not file.exists():
        raise NetspecError(f"{path}: no such plugin file")
    source = read_regular(file, MAX_BYTES)
    name = f"{_PREFIX}{file.stem}"
    while name in sys.modules and sys.modules[name].__file__ != str(file):
        name += "_"  # another folder's file of that name
    if name not in sys.modules or name not in _loaded or _loaded[name].digest != sha256(source).hexdigest():
        _run(name, file, source)
    if not _loaded[name].types:
        raise NetspecError(f"{path}: registers no layer nor anything else; decorate the class with @register('name')")
    return _loaded[name].types


def loaded_files() -> list[tuple[str, str, str]]:
    """Module name, path and SHA-256 of the plugin files that hold more than layers, for ``load_as``."""
    return [(name, one.file, one.digest) for name, one in _loaded.items() if any("." in key for key in one.types)]


def load_as(module: str, file: str, digest: str) -> None:
    """Run a plugin file in another process under the name that it has here, so that its classes can be unpickled.

    Raises NetspecError where its content is no longer what the digest is of.
    """
    import_homes()
    source = read_regular(file, MAX_BYTES)
    if sha256(source).hexdigest() != digest:
        raise NetspecError(f"{file}: the plugin has been changed since it was loaded; start again")
    _run(module, Path(file), source)


def plugin_files() -> tuple[str, ...]:
    """The plugin files that have been loaded, in order."""
    return tuple(plugin.file for plugin in _loaded.values())


def plugins_of(types: Iterable[str]) -> tuple[Plugin, ...]:
    """The code of those types, as in ``Plugin.types``, that are not built in, each file once."""
    known = registered()
    modules = dict.fromkeys(known[name].__module__ for name in types)
    return tuple(_plugin(module) for module in modules if module.partition(".")[0] != "netspec")


def _plugin(module: str) -> Plugin:
    if module in _loaded:
        return _loaded[module]
    types = _types_of(module)
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


class _Loader(SourceFileLoader):
    """Runs the bytes that were read, so that the digest is of the code that runs, and no stale .pyc takes its place."""

    def __init__(self, name: str, path: str, source: bytes) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.source, self.path)
        return code


def _run(name: str, file: Path, source: bytes) -> None:
    spec = spec_from_file_location(name, file, loader=_Loader(name, str(file), source))
    assert spec is not None and spec.loader is not None
    module, before = module_from_spec(spec), set(sys.modules)
    _discard(name)
    linecache.cache.pop(str(file), None)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (NetspecError, KeyboardInterrupt):
        _discard(name)
        raise
    except BaseException as error:  # a plugin may do anything, end the process too
        _discard(name)
        where = raised_at(error, str(file)) or file
        raise NetspecError(f"{where}: cannot be imported: {type(error).__name__}: {error}") from error
    own = {new for new in set(sys.modules) - before if _is_beside(new, file.parent)}
    digests = {**_digests(str(file), own), file.name: sha256(source).hexdigest()}
    _loaded[name] = Plugin(str(file), _types_of(name), digests)


def _discard(name: str) -> None:
    """Take out a module that could not be imported, or is about to be run again, and what it registered."""
    sys.modules.pop(name, None)
    _loaded.pop(name, None)
    forget(name)


def _types_of(module: str) -> tuple[str, ...]:
    return tuple(key for key, cls in registered(False).items() if cls.__module__ == module)


def _is_beside(module: str, folder: Path) -> bool:
    """Whether a module is a plugin's own: it lies in the folder and is no installed package."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if not file or module.partition(".")[0] in ("netspec", *sys.stdlib_module_names):
        return False
    return Path(file).is_relative_to(folder) and "site-packages" not in Path(file).parts


def _digests(file: str, modules: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the source files of modules, by path relative to the folder of ``file``."""
    sources = {getattr(sys.modules.get(name), "__file__", None) for name in modules} | {file}
    paths = sorted(source for source in sources if source and source.endswith(".py"))
    return {os.path.relpath(path, os.path.dirname(file)): digest_of(path) for path in paths}


def digest_of(path: str) -> str:
    """The SHA-256 of a file; empty where it cannot be read."""
    try:
        return sha256(read_regular(path, MAX_BYTES)).hexdigest()
    except NetspecError:
        return ""
