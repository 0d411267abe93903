"""Kernels for CPUs that check each index: one outside its array raises IndexError, and the line can be told.

numba's own check (``boundscheck=True``) names neither array nor line. So the source is rewritten: ``y[n, i + 1]``
becomes ``y[_netspec_index(y, n, 0, site), _netspec_index(y, i + 1, 1, site)]``. An index that is computed must not be
negative either: Python counts it from the end, which is seldom meant. Slices are cut off at the end, as in Python.
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
        if not _is_named(node.value) or self.count >= _MOST:
            return node
        site = self.first + self.count
        self.count += 1
        _sites[site] = Site(f"{self.file}:{node.lineno}", whole, base, self.function)
        if isinstance(node.slice, ast.Tuple):
            self._check_each(node, node.slice.elts, site)
        elif _is_number(node.slice):
            if isinstance(node.value, ast.Name):  # tuples are given back as they are
                node.value = _call(_WITHIN, node.value, node.slice, site)
        elif not isinstance(node.slice, ast.Slice):
            node.slice = _call(_INDEX, node.value, node.slice, ast.Constant(0), site)
        return node

    def _check_each(self, node: ast.Subscript, parts: list[ast.expr], site: int) -> None:
        if any(isinstance(part, ast.Constant) and not _is_number(part) for part in parts):
            return  # an ellipsis or a new axis
        for axis, part in enumerate(parts):
            if not isinstance(part, ast.Slice | ast.Starred):
                parts[axis] = _call(_INDEX, node.value, part, ast.Constant(axis), site)


def _call(name: str, array: ast.expr, *others: ast.expr | int) -> ast.Call:
    function = ast.Name(name, ast.Load())
    arguments = [ast.Constant(one) if isinstance(one, int) else one for one in others]
    return ast.Call(function, [_loaded(array), *arguments], [])


def _loaded(node: ast.expr) -> ast.expr:
    return deepcopy(node)


def _is_named(node: ast.AST) -> bool:
    """Whether it can be evaluated twice: a name, an attribute of one, an element of one."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name)


def _is_number(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) is int


