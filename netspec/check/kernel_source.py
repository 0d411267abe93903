"""What the source of a layer shows: where kernels write, and what they and their file must not do."""

from __future__ import annotations

import ast
import functools
import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from netspec.check.compare import Failed
from netspec.contract.naming import Argument
from netspec.contract.source_place import place_of
from netspec.kernels.lookup import find_kernel
from netspec.planning.plan import Pass

_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef)
_NOTHING = ast.Module([], [])
_NEEDS_NUMBA = ("numba", "numba_cuda", "llvmlite")
_ALLOCATING = {"zeros", "ones", "empty", "full", "zeros_like", "ones_like", "empty_like", "full_like", "array", "copy",
               "arange", "linspace", "concatenate", "stack", "astype", "flatten", "asarray", "where", "dot",
               "outer", "sort", "argsort", "repeat", "eye"}  # fmt: skip
Function = Callable[..., Any]

if TYPE_CHECKING:
    from netspec.check.subject import Subject


def check_imports(subject: Subject) -> None:
    """The file, and those of its folder that it imports, do not import numba: every command would wait for it."""
    module = sys.modules[subject.cls.__module__]
    for where, name in _imports_of_numba(module, set()):
        raise Failed(
            f"{where}: imports {name} when the file is loaded, which every command then waits for; take cuda, device, "
            "intrinsic from netspec.plugin, or move what needs it to a file of its own, reached by Lazy"
        )


def check_calls(subject: Subject) -> None:
    """Kernels neither print nor draw random numbers by who has drawn before; functions that return, always do."""
    for function in dict.fromkeys(one for kernel in subject.cls.kernels for one in reached(kernel.function)):
        _check_calls(function)
        _check_returns(function)


def reached(function: Function, seen: tuple[Function, ...] = ()) -> Iterator[Function]:
    """A kernel's function and the helpers and scalar functions that it calls."""
    yield function
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    for one in (*held, *map(function.__globals__.get, function.__code__.co_names)):
        marked = hasattr(one, "__netspec_device__") or hasattr(one, "__netspec_scalar__")
        if isinstance(one, FunctionType) and marked and one not in (*seen, function):
            yield from reached(one, (*seen, function))


def allocation(function: Function) -> str:
    """Where a kernel, or a helper of its, most likely allocates."""
    for one in reached(function):
        for node in ast.walk(_tree(one)):
            if _allocates(node):
                return f"{one.__code__.co_filename}:{node.lineno}: {ast.unparse(node)}"  # type: ignore[attr-defined]
    return place_of(function)


def undeclared_store(passes: Sequence[Pass], target: Argument) -> str:
    """``forward_cpu, my_layer.py:12``: where passes store to an array that they do not declare to write, or ""."""
    for one in passes:
        function = find_kernel(one.kernel).function
        for parameter in (key for key, value in one.args if value == target and target not in one.writes):
            if place := _store(function, parameter):
                return f"{place}: {function.__name__}"
    return ""


def _store(function: Function, name: str) -> str:
    """Where a kernel stores to an array; "" where none is seen."""
    for node in ast.walk(_tree(function)):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node.value) in (name, f"{name}.flat"):
                return f"{function.__code__.co_filename}:{node.lineno}"
    return ""


def _tree(function: Function) -> ast.AST:
    """Its source with the lines of its file; nothing where it is generated or cannot be read."""
    if hasattr(function, "__netspec_source__"):
        return _NOTHING
    text = "".join(linecache.getlines(function.__code__.co_filename))
    return _functions(text).get(function.__code__.co_firstlineno, _NOTHING)


@functools.cache
def _functions(text: str) -> dict[int, ast.AST]:
    """The functions of a file by their first lines, decorators included."""
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, _DEFINITION)]
    return {min(one.lineno for one in (node, *node.decorator_list)): node for node in found}


def _imports_of_numba(module: ModuleType, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Imports that run with the module's own, in it and in files of its folder."""
    file = getattr(module, "__file__", None)
    if file is None or file in seen:
        return
    seen.add(file)
    for node in _at_import(ast.parse(Path(file).read_bytes())):
        for name in _imported(node, module.__package__ or ""):
            if name.partition(".")[0] in _NEEDS_NUMBA:
                yield f"{file}:{node.lineno}", name
            other = sys.modules.get(name)
            if other is not None and Path(getattr(other, "__file__", None) or "/").parent == Path(file).parent:
                yield from _imports_of_numba(other, seen)


def _at_import(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements outside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not isinstance(node, _DEFINITION):
            yield from _at_import(node)


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = ".".join([*(package.split(".")[: 1 - node.level or None] if node.level else []), node.module or ""])
    return [base.strip("."), *(f"{base}.{alias.name}".strip(".") for alias in node.names)]


def _check_calls(function: Function) -> None:
    if not {"print", "random"} & {*function.__code__.co_names}:
        return
    for node in ast.walk(_tree(function)):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        where = f"{function.__code__.co_filename}:{getattr(node, 'lineno', 0)}: {function.__name__}"
        if called == "print":
            raise Failed(f"{where} prints; kernels do not: write what you want to see to a saved tensor")
        if called.startswith(("np.random.", "numpy.random.", "random.")):
            raise Failed(
                f"{where} calls {called}(), whose numbers depend on who asked before: use uniform(key, "
                "counters[ITERATION], index), the same on any number of devices"
            )


def _check_returns(function: Function) -> None:
    """A function that gives a number gives one in every branch."""
    tree = _tree(function)
    values = [node for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value is not None]
    if values and isinstance(tree, ast.FunctionDef) and not _ends(tree.body):
        raise Failed(
            f"{place_of(function)}: {function.__name__} returns a value at line {values[0].lineno}, and none where it "
            "comes to its end: return one in every branch"
        )


def _ends(body: Sequence[ast.stmt]) -> bool:
    """Whether statements never come to what follows them."""
    match body[-1]:
        case ast.Return() | ast.Raise():
            return True
        case ast.If(body=one, orelse=other):
            return bool(other) and _ends(one) and _ends(other)
        case ast.While(test=ast.Constant(value=True)) as loop:
            return not any(isinstance(node, ast.Break) for node in ast.walk(loop))
    return False


def _allocates(node: ast.AST) -> bool:
    """Whether an expression makes an array or list of its own, as far as source shows."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in _ALLOCATING
        case ast.List() | ast.ListComp() | ast.Set() | ast.Dict() | ast.SetComp() | ast.DictComp():
            return isinstance(getattr(node, "ctx", None), ast.Load | None)
        case ast.BinOp() | ast.UnaryOp():
            return any(isinstance(part, ast.Slice) for part in ast.walk(node))
    return False
