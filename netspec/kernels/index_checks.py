"""Kernels for CPUs that check each index: one outside its array raises IndexError, and the line can be told.

numba's own check (``boundscheck=True``) names neither array nor line. So the source is rewritten: ``y[n, i + 1]``
becomes ``y[_netspec_index(y, n, 0, site), _netspec_index(y, i + 1, 1, site)]``. An index that is computed must not be
negative either: Python counts it from the end, which is seldom meant; of a literal, ``y[n, -1]``, it is. Slices are cut
off at the end, as in Python.
"""

from __future__ import annotations

import ast
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from zlib import crc32

_INDEX, _WITHIN = "_netspec_index", "_netspec_within"
_MOST = 4096
"""Subscripts of one function that are told apart."""


@dataclass(frozen=True, slots=True)
class Site:
    """A subscript in a kernel's source: where it is, what is written there, and of which array."""

    place: str
    text: str
    array: str
    function: str


_sites: dict[int, Site] = {}


def check_indices(function: Any, definition: ast.FunctionDef, file: str) -> dict[str, Any]:
    """Rewrite the subscripts of a kernel or helper; gives what they then call, by name."""
    first = crc32(f"{function.__module__}.{function.__qualname__}".encode()) * _MOST
    _Subscripts(function.__name__, file, first).visit(definition)
    from netspec.kernels.checked_index import index, within

    return {_INDEX: index, _WITHIN: within}


def outside(error: IndexError) -> str | None:
    """What such an error says: the line, the array, the index; None for another IndexError."""
    if len(error.args) != 4 or error.args[0] not in _sites:
        return None
    site, (place, axis, size) = _sites[error.args[0]], error.args[1:]
    which = f" of axis {axis}" if axis else ""
    return (
        f"{site.place}: {site.text} is outside the array '{site.array}': index {place}{which}, where 0 to {size - 1} "
        f"are inside ({site.function})"
    )


class _Subscripts(ast.NodeTransformer):
    """``first`` is the number of the function's first site: the same in every process, as code is cached on disk."""

    def __init__(self, function: str, file: str, first: int) -> None:
        self.function, self.file, self.first, self.count = function, file, first, 0

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        whole, base = ast.unparse(node), ast.unparse(node.value)
        self.generic_visit(node)
        several = isinstance(node.slice, ast.Tuple)
        parts: list[ast.expr] = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if not _is_named(node.value) or self.count >= _MOST or any(map(_is_no_place, parts)):
            return node
        site = self.first + self.count
        self.count += 1
        _sites[site] = Site(f"{self.file}:{node.lineno}", whole, base, self.function)
        array = node.value
        for axis, part in enumerate(parts):
            if _is_number(part):
                if several or isinstance(array, ast.Name):  # tuples are given back as they are
                    node.value = _call(_WITHIN, node.value, part, axis, site)
            elif not isinstance(part, ast.Slice | ast.Starred):
                parts[axis] = _call(_INDEX, array, part, axis, site)
        node.slice = node.slice if several else parts[0]
        return node


def _call(name: str, array: ast.expr, place: ast.expr, axis: int, site: int) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), [deepcopy(array), place, ast.Constant(axis), ast.Constant(site)], [])


def _is_named(node: ast.AST) -> bool:
    """Whether it can be evaluated twice: a name, an attribute of one, an element of one."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name)


def _is_number(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) is int


def _is_no_place(node: ast.AST) -> bool:
    """An ellipsis or a new axis."""
    return isinstance(node, ast.Constant) and not _is_number(node)
