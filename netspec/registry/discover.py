"""One file, one thing: find the classes that the modules of a folder define."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import TypeVar

Base = TypeVar("Base")


def classes_in(package: ModuleType, base: type[Base]) -> dict[str, type[Base]]:
    """The subclasses of ``base`` by module name, one from each public module of the package.

    Raises TypeError when a module defines none or several: a programming error.
    """
    names = [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]
    return {name: _only_class(importlib.import_module(f"{package.__name__}.{name}"), base) for name in names}


def _only_class(module: ModuleType, base: type[Base]) -> type[Base]:
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define one {base.__name__}, defines {len(found)}")
    return found[0]
