"""The source of kernels for messages: the arrays that a line names, the shared arrays of a function."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any, NamedTuple

from netspec.emulate.ptx.line_info import Frames, SourceLine


class SharedShape(NamedTuple):
    """A ``cuda.shared.array`` as the source names it."""

    name: str
    shape: tuple[int, ...]


def arrays_on(line: SourceLine, stored: bool) -> list[str]:
    """Names that the line takes elements of, or calls functions with; first those that are stored to, or read."""
    nodes = [node for node in ast.walk(_tree(line.file)) if _covers(node, line.line)]
    taken = [node for node in nodes if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)]
    calls = [argument for node in nodes if isinstance(node, ast.Call) for argument in node.args]
    first = [node.value for node in taken if isinstance(node.ctx, ast.Store) == stored]
    names = [node.id for node in (*first, *(node.value for node in taken), *calls) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(names))


def shared_arrays(frames: Frames, kernel: Callable[..., Any], nbytes: int) -> list[SharedShape]:
    """The shared arrays of so many bytes in the functions that the frames lie in."""
    scope = {**kernel.__globals__, **inspect.getclosurevars(kernel).nonlocals}
    found = [one for frame in frames for one in _shared_in(frame, scope)]
    return [one for one in dict.fromkeys(found) if nbytes in {size * prod(one.shape) for size in (1, 2, 4, 8)}]


def _shared_in(line: SourceLine, scope: Mapping[str, Any]) -> Iterator[SharedShape]:
    functions = [
        node
        for node in ast.walk(_tree(line.file))
        if isinstance(node, ast.FunctionDef) and node.lineno <= line.line <= (node.end_lineno or 0)
    ]
    for node in (inner for function in functions for inner in ast.walk(function)):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=called, args=[size, *_])):
                if ast.unparse(called).endswith("shared.array") and (shape := _shape(size, scope)):
                    yield SharedShape(name, shape)


def _shape(node: ast.expr, scope: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape, which is a constant; () where it is not one that is found by its name."""
    try:
        value = eval(compile(ast.Expression(node), "<shape>", "eval"), {"__builtins__": {}}, dict(scope))
        return tuple(value) if isinstance(value, tuple) else (int(value),)
    except Exception:  # a name of the function's own, or whatever else: the message does without it
        return ()


def _covers(node: ast.AST, line: int) -> bool:
    return getattr(node, "lineno", line + 1) <= line <= (getattr(node, "end_lineno", 0) or 0)


def _tree(file: str) -> ast.Module:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:  # edited since it was imported
        return ast.Module([], [])
