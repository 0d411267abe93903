"""The register of layer types: built-in ones, installed plugins' and files named on the command line."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from netspec.contract.layer import Layer
from netspec.errors import NetspecError

LayerClass = TypeVar("LayerClass", bound=type)

_types: dict[str, type] = {}
_found = False
_PLUGIN = "netspec_plugin_"
"""What the names of modules begin with that layer files are loaded as."""


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
        return (
            f"{_file(new)} was imported twice, as {old.__module__} and as {new.__module__}; "
            f"import built-in layers as netspec.layers.{Path(_file(new)).stem} only"
        )
    return f"layer type '{name}' is registered twice: by {_file(old)} and by {_file(new)}; rename one of them"


def _file(cls: type) -> str:
    module = sys.modules.get(cls.__module__)
    return str(getattr(module, "__file__", None) or cls.__module__)


def layer_types() -> Mapping[str, type[Any]]:
    """All registered layer types by name; the first call finds the built-in and the installed ones."""
    global _found
    if not _found:
        _import_builtin()
        for entry in entry_points(group="netspec.layers"):
            entry.load()
        _found = True
    return MappingProxyType(_types)


def _import_builtin() -> None:
    package = importlib.import_module("netspec.layers")
    for info in pkgutil.iter_modules(package.__path__):
        if not info.name.startswith("_"):
            importlib.import_module(f"netspec.layers.{info.name}")


def load_plugin(path: str | Path) -> tuple[str, ...]:
    """Import a layer file and return the names of the types it registered.

    Raises NetspecError when the file is missing, cannot be imported or registers nothing.
    """
    layer_types()
    file = Path(path).resolve()
    if not file.is_file():
        raise NetspecError(f"{path}: no such plugin file")
    name = f"{_PLUGIN}{file.stem}"
    while name in sys.modules and sys.modules[name].__file__ != str(file):
        name += "_"  # another folder's file of that name
    if name not in sys.modules:
        _import_file(name, file)
    types = tuple(key for key, cls in _types.items() if cls.__module__ == name)
    if not types:
        raise NetspecError(f"{path}: registers no layer; decorate the class with @register('name')")
    return types


def plugin_files() -> tuple[str, ...]:
    """The layer files that have been loaded, in order."""
    return tuple(str(module.__file__) for name, module in sys.modules.items() if name.startswith(_PLUGIN))


def _import_file(name: str, file: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise NetspecError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (NetspecError, KeyboardInterrupt):
        _forget(name)
        raise
    except BaseException as error:  # a plugin may do anything, end the process too
        _forget(name)
        raise NetspecError(f"{file}: cannot be imported: {type(error).__name__}: {error}") from error


def _forget(module: str) -> None:
    """Take out a module that could not be imported, and what it had registered by then."""
    sys.modules.pop(module, None)
    for key in [key for key, cls in _types.items() if cls.__module__ == module]:
        del _types[key]
