"""What a plugin consists of: a file with those beside it that it imports, or a folder with all that lies in it.

Import statements are read, not run, so that all files are known, and can be told by their digests, before any code is.
A name of the standard library, and ``netspec``, is never a file's beside the plugin; any other is the file's beside it
where there is one, else the installed package's. Relative imports are by the folder of the file.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from netspec.errors import NetspecError
from netspec.machine.regular_files import read_regular
from netspec.units import size

MAX_BYTES = 4 * 2**20
MAX_FOLDER_BYTES = 32 * 2**20
MAX_FILES = 1000
FIRST = "__init__.py"

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """The files of a plugin by their paths below ``root``; ``entry`` is the one that is run, empty for a folder."""

    root: str
    entry: str
    files: Mapping[str, bytes]

    @property
    def path(self) -> str:
        """What was named: the file, or the folder."""
        return os.path.join(self.root, self.entry) if self.entry else self.root

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file."""
        return {name: sha256(content).hexdigest() for name, content in self.files.items()}


def digest_of(entry: str, digests: Mapping[str, str]) -> str:
    """One SHA-256 for all that is run: which file, and the names and contents of all of them."""
    return sha256(json.dumps([entry, sorted(digests.items())]).encode()).hexdigest()


def source_at(path: Path) -> Source:
    """The plugin of that file or folder. Raises NetspecError where it cannot be read, or is larger than code is."""
    if path.is_dir():
        return Source(str(path), "", _below(path))
    return Source(str(path.parent), path.name, _with_imports(path))


def _below(folder: Path) -> dict[str, bytes]:
    """All files of a folder but hidden and compiled ones."""
    found: dict[str, bytes] = {}
    total = 0
    for name in _names(folder):
        found[name] = read_regular(folder / name, MAX_BYTES)
        total += len(found[name])
        if len(found) > MAX_FILES or total > MAX_FOLDER_BYTES:
            limits = f"{MAX_FILES:,} files or {size(MAX_FOLDER_BYTES)}"
            raise NetspecError(f"{folder}: more than {limits}, so no plugin's folder; name the file with the layer")
    if not any(name.endswith(".py") and "/" not in name for name in found):
        raise NetspecError(f"{folder}: no Python file in it; a project is installed: pip install -e FOLDER")
    return found


def _names(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(files):
            if not name.startswith(".") and not name.endswith((".pyc", ".pyo")):
                yield os.path.relpath(os.path.join(place, name), folder)


def _with_imports(file: Path) -> dict[str, bytes]:
    """The file, and what it and those that it imports import from its folder."""
    found: dict[str, bytes] = {}
    left = [file.name]
    while left:
        name = left.pop()
        if name in found:
            continue
        found[name] = read_regular(file.parent / name, MAX_BYTES)
        if len(found) > MAX_FILES:
            raise NetspecError(f"{file}: imports more than {MAX_FILES:,} files beside it")
        left += _imported(found[name], Beside(name, lambda other: (file.parent / other).is_file()))
    return found


def _imported(content: bytes, beside: Beside) -> Iterator[str]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # running it will tell
    for node in ast.walk(tree):
        for parts in beside.imports(node):
            yield from beside.files_of(parts)


@dataclass(frozen=True, slots=True)
class Beside:
    """What import statements of a plugin's file mean: ``name`` is its path, ``is_there`` knows those of the others.

    ``own`` is the name of a folder that is a package, by which its files may call it too.
    """

    name: str
    is_there: Callable[[str], bool]
    own: str = ""

    def parts(self, dotted: str) -> Parts | None:
        """The path of a module that is named absolutely, from the plugin's folder; None where it is none of its."""
        top, *rest = dotted.split(".")
        if top in sys.stdlib_module_names or top == "netspec":
            return None
        if top == self.own:
            return tuple(rest)
        found = next(self.files_of((top,)), self.name)
        return None if found == self.name else (top, *rest)

    def files_of(self, parts: Parts) -> Iterator[str]:
        """The files that importing a module runs: its packages' and its own."""
        for end in range(1, len(parts) + 1):
            base = "/".join(parts[:end])
            yield from [file for file in (f"{base}/{FIRST}", f"{base}.py") if self.is_there(file)][:1]

    def imports(self, node: ast.AST) -> Iterator[Parts]:
        """The modules beside the file that a statement may import."""
        if isinstance(node, ast.Import):
            yield from (parts for alias in node.names if (parts := self.parts(alias.name)))
        if isinstance(node, ast.ImportFrom) and (base := self._base(node)) is not None:
            yield base
            yield from ((*base, alias.name) for alias in node.names)

    def _base(self, node: ast.ImportFrom) -> Parts | None:
        module = node.module or ""
        if not node.level:
            return self.parts(module)
        folders = tuple(self.name.split("/")[:-1])
        above = len(folders) - node.level + 1
        return None if above < 0 else (*folders[:above], *(module.split(".") if module else ()))


class Redirected(ast.NodeTransformer):
    """Absolute imports of files beside a plugin, as imports from the package that its folder is loaded as."""

    def __init__(self, package: str, beside: Beside) -> None:
        self.package, self.beside = package, beside

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        """``import a.b`` binds a, ``import a.b as c`` binds b to c."""
        made: list[ast.stmt] = []
        for alias in node.names:
            if self.beside.parts(alias.name) is None:
                made.append(ast.Import([alias]))
                continue
            top = alias.name.partition(".")[0]
            bound = alias.asname or top
            made.append(ast.Import([ast.alias(self._real(alias.name), bound)]))
            if alias.name != top and not alias.asname:
                made.append(ast.Import([ast.alias(self._real(top), bound)]))
        return [ast.fix_missing_locations(ast.copy_location(one, node)) for one in made]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        """The names that are bound stay."""
        if not node.level and node.module and self.beside.parts(node.module) is not None:
            node.module = self._real(node.module)
        return node

    def _real(self, dotted: str) -> str:
        return ".".join((self.package, *(self.beside.parts(dotted) or ())))
