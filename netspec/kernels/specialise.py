"""Specialisation of a kernel's source for a compute dtype: literals cast, lazy names resolved, content hashed."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import linecache
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any

import numpy as np

from netspec.contract.kernel import Lazy, backward_epilogue, epilogue
from netspec.contract.parameter_names import OPERANDS, operands_of, takes_operands
from netspec.contract.source_place import place_of
from netspec.errors import NetspecError
from netspec.kernels.extrema import EXTREMA
from netspec.kernels.identity import Unidentified, digest_of, follow, is_library
from netspec.kernels.index_checks import check_indices

_CAST = "_netspec_cast"
"""What a kernel finds the compute dtype under."""
_OWN = "_netspec_"
"""What the names of netspec.kernels.extrema and of netspec.kernels.elementary begin with in a kernel."""
_ELEMENTARY = {name: Lazy("netspec.kernels.elementary", name) for name in ("exp", "expm1", "log1p", "tanh", "erf")}
"""Functions of ``math`` that are vectorised on CPUs."""


@dataclass(frozen=True)
class Prepared:
    """A function ready to compile: code, the names it reaches (helpers as Prepared) and a hash of all of it."""

    name: str
    code: Any
    names: Mapping[str, Any]
    digest: str
    inlined: bool = False
    """Whether a CPU's kernels take it in, so that loops around calls are vectorised: a function of numbers does so, and
    what calls one."""

    def build(self, compile_helper: Callable[[Prepared], Any]) -> FunctionType:
        """A plain function whose helpers went through ``compile_helper``."""
        scope = {
            key: compile_helper(value) if isinstance(value, Prepared) else value for key, value in self.names.items()
        }
        scope["__name__"] = "netspec"  # which numba imports when it loads the kernel from its cache: no file's name
        exec(self.code, scope)
        return scope[self.name]  # type: ignore[no-any-return]


def prepare(
    function: Callable[..., Any],
    dtype: str,
    stored_through: Callable[..., Any] | None = None,
    *,
    vectorised: bool = False,
    checked: bool = False,
) -> Prepared:
    """Prepare a kernel or helper for a compute dtype ("float32" or "float64").

    Module-level floats that it reaches are constants of the compute dtype, as its literals are; ``max`` and ``min`` of
    numbers pass NaN on, see netspec.kernels.extrema. ``stored_through`` takes the place of ``netspec.plugin.epilogue``,
    or ``backward_epilogue``; the kernel's ``__netspec_hooks__`` say what else something takes the place of.
    ``vectorised``: functions of ``math`` are those of netspec.kernels.elementary in float32.
    ``checked``: for CPUs, with a check of each index, see netspec.kernels.index_checks.

    Raises NetspecError when its source cannot be read, when it is no ``def``, when it calls itself and when it reaches
    a plain function not marked @device or a name that is not defined.
    """
    vectorised = vectorised and dtype == "float32"
    hooks = dict(getattr(function, "__netspec_hooks__", {}))
    if stored_through:
        hooks |= dict.fromkeys((epilogue, backward_epilogue), stored_through)
    return _Preparer(dtype, hooks, vectorised, checked).prepare(function)


_prepared: dict[tuple[Any, ...], Prepared] = {}
"""Kernels and helpers of this process: a helper that many kernels call is read once."""


class _Preparer:
    def __init__(self, dtype: str, hooks: Mapping[Any, Callable[..., Any]], vectorised: bool, checked: bool) -> None:
        self.dtype, self.hooks, self.vectorised, self.checked = dtype, hooks, vectorised, checked
        self.cast: Any = {"float32": np.float32, "float64": np.float64}[dtype]
        self.open: list[Any] = []
        self.elementary: list[Any] = []

    def prepare(self, function: Any) -> Prepared:
        key = (function, self.dtype, *self.hooks.items(), self.vectorised, self.checked)
        if key in _prepared:
            return _prepared[key]
        if function in self.open:
            where = place_of(function)
            raise NetspecError(f"{where}: {function.__qualname__} calls itself, which kernels and their helpers cannot")
        self.open.append(function)
        try:
            _prepared[key] = self._prepare(function)
        finally:
            self.open.pop()
        return _prepared[key]

    def _prepare(self, function: Any) -> Prepared:
        tree, file = _parse(function)
        definition = tree.body[0]
        if not isinstance(definition, ast.FunctionDef):
            raise NetspecError(f"{file}:{definition.lineno}: {function.__qualname__} must be written with 'def'")
        definition.decorator_list, definition.returns = [], None
        arguments = [node for node in _nodes(definition) if isinstance(node, ast.arg)]
        named = [*_named_again(function, arguments), *_spelled_out(function, definition.args)]
        for argument in arguments:
            argument.annotation = None
        if ast.get_docstring(definition):
            definition.body = definition.body[1:] or [ast.Pass()]
        definition.body = [*named, *definition.body]
        own = {*function.__globals__, *function.__code__.co_varnames, *function.__code__.co_freevars}
        if self.vectorised and (modules := _modules(function)):
            _Elementary(modules).visit(definition)
        _Numbers(self.dtype, hasattr(function, "__netspec_scalar__"), EXTREMA.keys() - own).visit(definition)
        nodes = _nodes(definition)
        names = self._reach(function, definition, nodes)
        names[_CAST] = self.cast
        followed = _followed(function, nodes, names)
        if self.checked:
            ast.fix_missing_locations(tree)
            names |= check_indices(function, definition, file)
        ast.fix_missing_locations(tree)
        text = ast.dump(tree, include_attributes=False)
        digest = self._digest(function, text, followed)
        # numba derives symbols from the name: two cached kernels of one name would clash in a third process.
        definition.name = f"{definition.name}_{digest[:12]}"
        inlined = hasattr(function, "__netspec_scalar__") or any(map(self._is_inlined, names.values()))
        return Prepared(definition.name, compile(tree, file, "exec"), names, digest, inlined)

    def _is_inlined(self, value: Any) -> bool:
        if isinstance(value, Prepared):
            return value.inlined
        return any(value is one for one in self.elementary)

    def _digest(self, function: Any, text: str, names: Mapping[str, Any]) -> str:
        try:
            return digest_of({" dtype": self.dtype, " text": text, **names})
        except Unidentified as error:
            raise NetspecError(
                f"{place_of(function)}: {function.__qualname__} reaches {error}, which cannot be told from another "
                "one, so that its machine code could not be kept apart: use numbers, strings, tuples, arrays, functions"
            ) from None

    def _reach(self, function: Any, definition: ast.FunctionDef, nodes: Sequence[ast.AST]) -> dict[str, Any]:
        """Globals and closure variables by name; a local variable of the same name hides them, as in Python."""
        names = [node for node in nodes if isinstance(node, ast.Name)]
        own = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        own |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        used = {node.id for node in names if isinstance(node.ctx, ast.Load)} - own
        used |= {node.id for node in _nodes(definition.args) if isinstance(node, ast.Name)}  # in defaults
        extrema = {_OWN + name: one for name, one in EXTREMA.items() if _OWN + name in used}
        closure = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
        elementary = {_OWN + name: one for name, one in _ELEMENTARY.items()}
        found = {**function.__globals__, **closure, **extrema, **elementary}
        lines = {node.id: node.lineno for node in reversed(names) if hasattr(node, "lineno")}

        def where(name: str) -> str:
            return f"{inspect.getsourcefile(function)}:{lines[name]}: {function.__qualname__}"

        if unknown := [name for name in sorted(used - {_CAST}) if name not in found and not hasattr(builtins, name)]:
            raise NetspecError(f"{where(unknown[0])} uses '{unknown[0]}', which is not defined")
        return {name: self._resolve(where, name, found[name]) for name in used if name in found}

    def _resolve(self, where: Callable[[str], str], name: str, value: Any) -> Any:
        if self.vectorised and isinstance(value, BuiltinFunctionType):
            value = _ELEMENTARY.get(value.__name__, value) if value.__module__ == "math" else value
        if isinstance(value, Lazy):
            is_elementary, value = value in _ELEMENTARY.values(), value.resolve()
            self.elementary += [value] * is_elementary
        if isinstance(value, FunctionType):
            value = self.hooks.get(value, value)
        if type(value) is float:
            return self.cast(value)
        if not isinstance(value, FunctionType):
            return value
        if hasattr(value, "__netspec_device__") or hasattr(value, "__netspec_scalar__"):
            return self.prepare(value)
        raise NetspecError(f"{where(name)} calls {name}(), which is not marked @device")


def _followed(function: Any, nodes: Iterable[ast.AST], names: Mapping[str, Any]) -> dict[str, Any]:
    """What a kernel's names stand for in its hash; what it reaches through a module or class is followed there."""
    found: dict[str, Any] = {}
    for name, attributes in _chains(nodes):
        if name in names:
            taken, value = follow(names[name], attributes)
            if isinstance(value, FunctionType) and not is_library(value):
                whole = ".".join((name, *taken))
                raise NetspecError(
                    f"{place_of(function)}: {function.__qualname__} calls {whole}(): a helper must be marked @device "
                    "and imported by its name"
                )
            found[".".join((name, *taken))] = ("helper", value.digest) if isinstance(value, Prepared) else value
    return found


def _named_again(function: Any, arguments: Iterable[ast.arg]) -> Iterator[ast.stmt]:
    """For each parameter that is annotated with a named tuple a statement that names its fields: plain tuples come in.

    So its fields count in the hash, which signatures know nothing of.
    """
    for argument in arguments:
        kind = argument.annotation
        if isinstance(kind, ast.Name) and hasattr(function.__globals__.get(kind.id), "_fields"):
            yield from ast.parse(f"{argument.arg} = {kind.id}(*{argument.arg})").body


def _spelled_out(function: Any, arguments: ast.arguments) -> list[ast.stmt]:
    """``*operands`` as so many parameters, and the statement that makes a tuple of them, or 0 of none."""
    if not takes_operands(function):
        return []
    names = [f"{OPERANDS}_{n}" for n, _ in enumerate(operands_of(function))]
    arguments.vararg, arguments.args = None, [*arguments.args, *map(ast.arg, names)]
    return ast.parse(f"{OPERANDS} = ({', '.join(names)},)" if names else f"{OPERANDS} = 0").body


def _nodes(tree: ast.AST) -> list[ast.AST]:
    """What ``ast.walk`` gives, in its order, in a third of its time; contexts are left out."""
    found = [tree]
    for node in found:
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                found += [one for one in value if isinstance(one, ast.AST)]
            elif isinstance(value, ast.AST) and field != "ctx":
                found.append(value)
    return found


def _chains(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names among nodes, parents first, each with the attributes that are taken of it: ``module.Class.NAME``."""
    inner: set[ast.AST] = set()
    for node in nodes:
        attributes: list[str] = []
        if node in inner:
            continue
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
            inner.add(node)
        if isinstance(node, ast.Name):
            yield node.id, tuple(attributes)


def _parse(function: Any) -> tuple[ast.Module, str]:
    source = getattr(function, "__netspec_source__", None)
    if function.__name__ == "<lambda>":  # whose text cannot be told from that of what it stands in
        raise NetspecError(f"{place_of(function)}: a lambda is not compiled: write a function with 'def'")
    if source is not None:
        return ast.parse(source.strip()), f"<{function.__qualname__}>"
    try:
        plain = inspect.unwrap(function)
        tree = _by_indentation(plain.__code__, plain.__globals__)
        if tree is None:
            lines, start = inspect.getsourcelines(function)
            tree = ast.parse("\n" * (start - 1) + textwrap.dedent("".join(lines)))
    except (OSError, TypeError) as error:
        remedy = "a kernel is compiled from its text: write it in a file, or in a cell of a notebook"
        raise NetspecError(f"the source of {function.__qualname__} cannot be read: {error}; {remedy}") from error
    return tree, inspect.getsourcefile(function) or "<unknown>"


def _by_indentation(code: CodeType, scope: dict[str, Any]) -> ast.Module | None:
    """A function's tree without a look at each of its tokens, as inspect takes; None where it takes one.

    Beyond the last line that has code, the function goes on as far as lines are indented more, or close a bracket.
    """
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, scope)
    first, end = code.co_firstlineno - 1, _last_line(code)
    if end > len(lines):
        return None
    margin = _indentation(lines[first])
    while end < len(lines) and (_indentation(lines[end]) > margin or lines[end].lstrip()[:1] in ("", *"#)]}")):
        end += 1
    try:
        tree = ast.parse("\n" * first + textwrap.dedent("".join(lines[first:end])))
    except SyntaxError:
        return None
    return tree if len(tree.body) == 1 else None


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def _last_line(code: CodeType) -> int:
    inner = [_last_line(one) for one in code.co_consts if isinstance(one, CodeType)]
    return max([code.co_firstlineno, *(line for _, _, line in code.co_lines() if line), *inner])


def _modules(function: Any) -> Set[str]:
    """What a function calls the module ``math``."""
    own = {*function.__code__.co_varnames, *function.__code__.co_freevars}
    return {name for name, value in function.__globals__.items() if value is math and name not in own}


class _Elementary(ast.NodeTransformer):
    """Names functions of ``math`` anew that netspec.kernels.elementary has, where a module of these names is meant."""

    def __init__(self, modules: Set[str]) -> None:
        self.modules = modules

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        known = isinstance(node.value, ast.Name) and node.value.id in self.modules and node.attr in _ELEMENTARY
        return ast.copy_location(ast.Name(_OWN + node.attr, node.ctx), node) if known else self.generic_visit(node)


class _Numbers(ast.NodeTransformer):
    """Wraps float literals in the compute dtype, in scalar functions whole numbers too; names ``max`` and ``min`` anew.

    Exponents, indices and what is given to ``range`` are whole numbers and stay as they are.
    """

    def __init__(self, dtype: str, whole_too: bool, extrema: Set[str]) -> None:
        self.dtype, self.whole_too, self.extrema = dtype, whole_too, extrema

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        kinds = (int, float) if self.whole_too else (float,)
        if not isinstance(node.value, kinds) or isinstance(node.value, bool):
            return node
        cast = ast.Call(ast.Name(_CAST, ast.Load()), [node], [])
        return ast.copy_location(cast, node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        node.left = self.visit(node.left)
        if not isinstance(node.op, ast.Pow) or not _is_whole(node.right):
            node.right = self.visit(node.right)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        node.value = self.visit(node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "range":
            return node
        self.generic_visit(node)
        if name not in self.extrema or len(node.args) < 2:
            return node
        function = ast.Name(_OWN + name, ast.Load())
        return functools.reduce(lambda a, b: ast.copy_location(ast.Call(function, [a, b], []), node), node.args)


def _is_whole(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int)
