"""The register of layer types: built-in ones, and those of installed plugins. See layer_files.py for files."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from netspec.contract.layer import Layer
from netspec.errors import NetspecError

LayerClass = TypeVar("LayerClass", bound=type)

_types: dict[str, type] = {}
_found = False
_faults: list[str] = []

GROUP = "netspec.layers"
"""The group of entry points by which installed packages name modules with layers."""


def register(name: str) -> Callable[[LayerClass], LayerClass]:
    """Class decorator: make the layer known to specs as ``type: name``.

    Raises NetspecError when the name is taken, be it by another layer or by the same file imported under two names,
    and when the class is no Layer.
    """
    if not isinstance(name, str):
        raise NetspecError(f"{_file(name)}: write @register('name') above the class, with the layer type's name")

    def add(cls: LayerClass) -> LayerClass:
        if not issubclass(cls, Layer):
            raise NetspecError(f"{_file(cls)}: '{name}' is no Layer: write class {cls.__name__}(Layer)")
        if name in _types and not _is_reload(_types[name], cls):
            raise NetspecError(_taken(name, _types[name], cls))
        cls.type = name
        _types[name] = cls
        return cls

    return add


def _is_reload(old: type, new: type) -> bool:
    return old.__module__ == new.__module__ and old.__qualname__ == new.__qualname__ and _file(old) == _file(new)


def _taken(name: str, old: type, new: type) -> str:
    if old.__module__ != new.__module__ and _file(old) == _file(new):
        remedy = f"import it as {old.__module__} only"
        if old.__module__.startswith("netspec.layers."):
            remedy = f"import built-in layers as netspec.layers.{Path(_file(new)).stem} only"
        return f"{_file(new)} was imported twice, as {old.__module__} and as {new.__module__}; {remedy}"
    return f"layer type '{name}' is registered twice: by {_file(old)} and by {_file(new)}; rename one of them"


def _file(cls: type) -> str:
    module = sys.modules.get(cls.__module__)
    return str(getattr(module, "__file__", None) or cls.__module__)


def layer_types() -> Mapping[str, type[Any]]:
    """All registered layer types by name; the first call imports the built-in and the installed ones."""
    global _found
    if not _found:
        _import_builtin()
        _faults.extend(_import_installed())
        _found = True
    return MappingProxyType(_types)


def installed_faults() -> tuple[str, ...]:
    """A line for each installed plugin that could not be imported and is left out."""
    layer_types()
    return tuple(_faults)


def forget(module: str) -> None:
    """Take out the layer types of a module."""
    for key in [key for key, cls in _types.items() if cls.__module__ == module]:
        del _types[key]


def _import_builtin() -> None:
    package = importlib.import_module("netspec.layers")
    for info in pkgutil.iter_modules(package.__path__):
        if not info.name.startswith("_"):
            importlib.import_module(f"netspec.layers.{info.name}")


def _import_installed() -> Iterator[str]:
    """Import what entry points name; a line for each that fails, which does not stop the others."""
    for distribution in _with_layers():
        package = f"{distribution.metadata['Name']} {distribution.version}"
        try:
            entries = distribution.entry_points.select(group=GROUP)
        except Exception as error:
            yield f"installed plugin {package}: its entry_points.txt cannot be read: {error}"
            continue
        for entry in sorted(entries, key=lambda entry: entry.name):
            try:
                entry.load()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin may do anything, end the process too
                for module in {cls.__module__ for cls in _types.values()} - sys.modules.keys():
                    forget(module)
                reason = str(error) if isinstance(error, NetspecError) else f"{type(error).__name__}: {error}"
                yield f"installed plugin {package}: {entry.value} cannot be imported: {reason}"


def _with_layers() -> list[Distribution]:
    """The installed packages that have entry points of ours, by name; the first one found of each name."""
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        if GROUP in (distribution.read_text("entry_points.txt") or ""):
            found.setdefault(distribution.metadata["Name"], distribution)
    return [found[name] for name in sorted(found)]
