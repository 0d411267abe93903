"""One registry for each kind of thing that specs name: built-in classes, and those of plugins, by name.

A *plugin* is an installed package with an entry point in a group ``netspec.KIND``, or a file or folder that is named;
see plugin_code.py.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Generic, TypeVar

from netspec.errors import NetspecError
from netspec.machine.limits import cause

Base = TypeVar("Base")
Class = TypeVar("Class", bound=type)

PREFIX = "netspec."
"""What the groups of entry points begin with by which installed packages name modules; the kind follows."""

HOMES = (
    "netspec.registry.kinds",
    "netspec.init",
    "netspec.schedules",
    "netspec.metrics",
    "netspec.solvers",
    "netspec.data.known_sources",
    "netspec.callbacks",
)
"""Modules that make registries; a plugin's class finds its own among them."""

AFTER_INSTALLED: list[Callable[[], None]] = []
"""What imports further plugins, once the installed ones are."""

_registries: dict[str, Registry[Any]] = {}
_installed = False
_faults: list[str] = []


class Registry(Generic[Base]):
    """The classes of one kind by name.

    ``kind`` names the group of entry points, ``base`` is what the classes derive from, ``noun`` what one is called in
    messages. Built-in ones are the public modules of ``package``, if there is one: a file holds one, called as the
    file is, and is imported when its class is asked for. Names in ``apart`` are not free.
    """

    def __init__(
        self, kind: str, base: type[Base], package: str, noun: str, apart: Registry[Any] | None = None
    ) -> None:
        self.kind, self.base, self.package, self.noun, self.apart = kind, base, package, noun, apart
        self._types: dict[str, type[Base]] = {}
        self._files: tuple[str, ...] | None = None
        _registries[kind] = self

    def types(self) -> Mapping[str, type[Base]]:
        """All registered classes by name; the first call imports the installed ones."""
        import_installed()
        return _Types(self)

    def names(self) -> tuple[str, ...]:
        """Of built-in classes, then of others. Raises NetspecError where the system refuses to list the package."""
        return tuple(dict.fromkeys((*self._builtin(), *self._types)))

    def has(self, name: object) -> bool:
        """Whether there is a class of that name."""
        return name in self._types or name in self._builtin()

    def find(self, name: str) -> type[Base] | None:
        """The class of a name. Raises NetspecError where the system refuses to read a built-in one."""
        found = self._types.get(name)
        if found is None and name in self._builtin():
            module = self._imported(f"{self.package}.{name}")
            if name not in self._types:
                self.add(name, _only_class(module, self.base))
            found = self._types.get(name)
        return found

    def add(self, name: str, cls: type[Base]) -> None:
        """Make a class known. Raises NetspecError where another one has the name."""
        own = cls.__module__ == f"{self.package}.{name}"
        old = self._types.get(name) if own else self.find(name)
        if old is not None and not _is_reload(old, cls):
            raise NetspecError(self._taken(name, old, cls))
        if self.apart is not None and (other := self.apart.types().get(name)) is not None:
            raise NetspecError(self._taken(name, other, cls))
        cls.type = name  # type: ignore[attr-defined]  # each base declares it
        self._types[name] = cls

    def forget(self, module: str) -> None:
        """Take out what a module has registered."""
        for name in [name for name, cls in self._types.items() if cls.__module__ == module]:
            del self._types[name]

    def known(self) -> Mapping[str, type[Base]]:
        """The classes that have been imported."""
        return MappingProxyType(self._types)

    def _builtin(self) -> tuple[str, ...]:
        if self._files is None:
            try:
                self._files = _public_modules(importlib.import_module(self.package)) if self.package else ()
            except OSError as error:
                raise self._unreadable(error) from error
        return self._files

    def _imported(self, module: str) -> ModuleType:
        try:
            return importlib.import_module(module)
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> NetspecError:
        return NetspecError(f"{self.package} cannot be read: {cause(error)}")

    def _taken(self, name: str, old: type, new: type) -> str:
        if old.__module__ != new.__module__ and _file(old) == _file(new):
            remedy = f"import it as {old.__module__} only"
            if old.__module__.startswith(f"{self.package}."):
                remedy = f"import built-in {self.kind} as {self.package}.{Path(_file(new)).stem} only"
            return f"{_file(new)} was imported twice, as {old.__module__} and as {new.__module__}; {remedy}"
        return f"{self.noun} '{name}' is registered twice: by {_file(old)} and by {_file(new)}; rename one of them"


class _Types(Mapping[str, type[Base]]):
    """What a registry holds, each class imported when it is asked for."""

    def __init__(self, registry: Registry[Base]) -> None:
        self._registry = registry

    def __getitem__(self, name: str) -> type[Base]:
        if (found := self._registry.find(name)) is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return self._registry.has(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.names())

    def __len__(self) -> int:
        return len(self._registry.names())


def register(name: str) -> Callable[[Class], Class]:
    """Class decorator: make the class known to specs by that name; what it derives from says as what.

    Raises NetspecError when the name is taken, be it by another class or by the same file imported under two names,
    and when the class is none that a spec can name.
    """
    if not isinstance(name, str):
        raise NetspecError(f"{_file(name)}: write @register('name') above the class, with its name in specs")

    def add(cls: Class) -> Class:
        registry = _of(cls)
        if registry is None:  # a notebook may register a solver before anything has needed one
            import_homes()
            registry = _of(cls)
        if registry is None:
            bases = [one.base.__name__ for one in _registries.values()]
            others = f", or one of {', '.join(bases[1:])}" if bases[1:] else ""
            raise NetspecError(f"{_file(cls)}: '{name}' is no Layer: write class {cls.__name__}(Layer){others}")
        registry.add(name, cls)
        return cls

    return add


def _of(cls: type) -> Registry[Any] | None:
    return next((one for one in _registries.values() if issubclass(cls, one.base)), None)


def registered(complete: bool = True) -> dict[str, type]:
    """Every class of every kind: layers by their names, others by ``kind.name``.

    ``complete``: built-in and installed ones are imported first.
    """
    import_homes()
    found: dict[str, type] = {}
    for kind, registry in _registries.items():
        known = registry.types() if complete else registry.known()
        found |= {name if kind == "layers" else f"{kind}.{name}": cls for name, cls in known.items()}
    return found


def class_of(key: str) -> type:
    """The class of a key of ``registered``; no other built-in one is imported. Raises KeyError for an unknown key."""
    import_homes()
    kind, _, name = key.rpartition(".")
    found: type = _registries[kind or "layers"].types()[name]
    return found


def described(key: str) -> str:
    """A key of ``registered`` for people: ``layer type 'relu'``, ``augmentation 'blur'``."""
    kind, _, name = key.partition(".")
    if kind in _registries and name:
        return f"{_registries[kind].noun} '{name}'"
    return f"{_registries['layers'].noun} '{key}'"


def forget(module: str) -> None:
    """Take out what a module has registered, of whatever kind."""
    for registry in _registries.values():
        registry.forget(module)


def import_homes() -> None:
    """Have every registry made."""
    for name in HOMES:
        importlib.import_module(name)


def installed_faults() -> tuple[str, ...]:
    """A line for each installed plugin that could not be imported and is left out."""
    import_installed()
    return tuple(_faults)


def import_installed() -> None:
    """Import what entry points name, once, then what the environment does. Raises NetspecError for the latter."""
    global _installed
    if not _installed:
        _installed = True
        _faults.extend(_import_installed())
    for call in AFTER_INSTALLED:
        call()


def _import_installed() -> Iterator[str]:
    """A line for each that fails, which does not stop the others."""
    import_homes()
    for distribution in _with_plugins():
        package = f"{distribution.metadata['Name']} {distribution.version}"
        try:
            entries = [entry for entry in distribution.entry_points if entry.group.startswith(PREFIX)]
        except Exception as error:
            yield f"installed plugin {package}: its entry_points.txt cannot be read: {error}"
            continue
        for entry in sorted(entries, key=lambda entry: entry.name):
            try:
                entry.load()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin may do anything, end the process too
                for module in {cls.__module__ for cls in registered(False).values()} - sys.modules.keys():
                    forget(module)
                reason = str(error) if isinstance(error, NetspecError) else f"{type(error).__name__}: {error}"
                yield f"installed plugin {package}: {entry.value} cannot be imported: {reason}"


def _with_plugins() -> list[Distribution]:
    """The installed packages that have entry points of ours, by name; the first one found of each name."""
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        if f"[{PREFIX}" in (distribution.read_text("entry_points.txt") or ""):
            found.setdefault(distribution.metadata["Name"], distribution)
    return [found[name] for name in sorted(found)]


def _public_modules(package: ModuleType) -> tuple[str, ...]:
    """Names of the modules in a package's folder, sorted; raises OSError where it cannot be listed."""
    names = {name for folder in package.__path__ for name in os.listdir(folder)}
    return tuple(sorted(Path(name).stem for name in names if name.endswith(".py") and not name.startswith("_")))


def _only_class(module: ModuleType, base: type[Base]) -> type[Base]:
    """The class of that base which a module defines. Raises TypeError for none or several: a programming error."""
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define one {base.__name__}, defines {len(found)}")
    return found[0]


def _is_reload(old: type, new: type) -> bool:
    return old.__module__ == new.__module__ and old.__qualname__ == new.__qualname__ and _file(old) == _file(new)


def _file(cls: type) -> str:
    module = sys.modules.get(cls.__module__)
    return str(getattr(module, "__file__", None) or cls.__module__)
