"""The modules of plugins: those of a folder are a package of their own, run from the bytes that were read.

So what runs is what the digests are of; two plugins may have helpers of one name; and no file that happens to lie
beside a plugin takes the place of a module of somebody else.
"""

from __future__ import annotations

import ast
import importlib
import linecache
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType

from netspec.registry.plugin_source import FIRST, Beside, Redirected, Source

_PREFIX = "netspec_plugin_"
"""What the names of the packages begin with that plugins are loaded as."""
_ASIDE = re.compile(r"_.*|test_.*|.*_test|conftest|setup")
"""Files of a folder that are not run of themselves."""


@dataclass
class Package:
    """The package that a folder's plugins are loaded as; ``modules`` has files by what their modules are called in it.

    ``whole`` says that the folder itself is a plugin, and not files in it.
    """

    name: str
    root: str
    whole: bool
    files: dict[str, bytes] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)

    def take(self, source: Source) -> None:
        """Have the files of a plugin, which replace none of other content."""
        for file in source.files:
            if file.endswith(".py") and file not in self.files:
                self.modules[self._free(_dotted(file))] = file
        self.files.update(source.files)

    def _free(self, dotted: str) -> str:
        while dotted in self.modules:  # two files whose names differ in characters that no module's name has
            dotted += "_"
        return dotted

    def module(self, file: str) -> str:
        """The whole name of a file's module."""
        return next(_joined(self.name, dotted) for dotted, own in self.modules.items() if own == file)

    def drop(self, files: Iterable[str]) -> list[str]:
        """Forget files and their modules, and give the modules' names."""
        gone = [file for file in files if file in self.files]
        names = [self.module(file) for file in gone if file in self.modules.values()]
        for name in names:
            _take_out(name)
        for file in gone:
            linecache.cache.pop(os.path.join(self.root, file), None)
            del self.files[file]
        self.modules = {dotted: file for dotted, file in self.modules.items() if file in self.files}
        if not self.files:
            _take_out(self.name)
        return names

    def code(self, file: str) -> CodeType:
        """The file, compiled; absolute imports of files beside it are imports from this package."""
        own = os.path.basename(self.root) if self.whole and FIRST in self.files else ""
        beside = Beside(file, self.files.__contains__, own)
        path = os.path.join(self.root, file)
        tree = Redirected(self.name, beside).visit(ast.parse(self.files[file], path))
        code: CodeType = compile(tree, path, "exec", dont_inherit=True)
        return code

    def run(self, entry: str) -> None:
        """Import the file, or the folder's: its ``__init__.py``, else each public one in the order of their names."""
        if entry:
            importlib.import_module(self.module(entry))
        elif FIRST in self.files:
            importlib.import_module(self.name)
        else:
            for file in sorted(self.modules.values()):
                if "/" not in file and not _ASIDE.fullmatch(file.removesuffix(".py")):
                    importlib.import_module(self.module(file))


_packages: dict[str, Package] = {}


def package_at(root: str, whole: bool, name: str = "") -> Package:
    """The package of a folder; ``name`` is what it is called where another process has named it."""
    known = next((one for one in _packages.values() if (one.root, one.whole) == (root, whole)), None)
    if known is None:
        name = name or _PREFIX + re.sub(r"\W", "_", os.path.basename(root), flags=re.ASCII)
        while name in _packages:  # another folder of that name
            name += "_"
        known = _packages[name] = Package(name, root, whole)
        if not any(isinstance(one, _Finder) for one in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
    return known


class _Finder:  # importlib.abc has a base for it, whose import costs what all of netspec's do
    """Finds modules of plugins among the files that were read, and nowhere else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name, _, dotted = fullname.partition(".")
        if (package := _packages.get(name)) is None:
            return None
        file = package.modules.get(dotted)
        if file is not None:
            return _spec(fullname, package, file)
        if not dotted or any(one.startswith(f"{dotted}.") for one in package.modules):
            spec = ModuleSpec(fullname, None, is_package=True)  # a folder without code of its own
            spec.submodule_search_locations = [os.path.join(package.root, *dotted.split("."))]
            return spec
        raise ModuleNotFoundError(f"no file for '{dotted}' in {package.root}", name=fullname)


def _spec(name: str, package: Package, file: str) -> ModuleSpec | None:
    path = os.path.join(package.root, file)
    inner = [os.path.dirname(path)] if os.path.basename(file) == FIRST else None
    loader = _Loader(name, path, package, file)
    return spec_from_file_location(name, path, loader=loader, submodule_search_locations=inner)


class _Loader(SourceFileLoader):
    """Runs the bytes that were read, and no stale .pyc in their place."""

    def __init__(self, name: str, path: str, package: Package, file: str) -> None:
        super().__init__(name, path)
        self.package, self.file, self.content = package, file, package.files[file]

    def get_code(self, fullname: str) -> CodeType:
        return self.package.code(self.file)

    def get_data(self, path: str) -> bytes:
        return self.content if path == self.path else super().get_data(path)


def _dotted(file: str) -> str:
    """What the module of a file is called in its package."""
    parts = file.removesuffix(".py").split("/")
    parts = [re.sub(r"\W", "_", part) for part in parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _joined(package: str, dotted: str) -> str:
    return f"{package}.{dotted}" if dotted else package


def _take_out(name: str) -> None:
    """Remove a module, and the attribute by which its package has it."""
    module = sys.modules.pop(name, None)
    package, _, last = name.rpartition(".")
    above = sys.modules.get(package)
    if module is not None and getattr(above, last, None) is module:
        delattr(above, last)
