"""One kernel for several sets of arrays: what PyTorch calls multi-tensor apply. One launch instead of many small ones.

Each set has blocks of its own, as many as it would be launched with; a block takes the arrays of its set and runs the
kernel's own code, so that the numbers are the same to the last bit.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from netspec.contract.kernel import Kernel, cuda, forward

SHARED = ("finite", "rates", "clip", "share")
"""Parameters that all sets have in common: numbers of the iteration."""
_SET, _FIRST = "multi_tensor_set", "multi_tensor_first"


def of_set(parameter: str, number: int) -> str:
    """What a kernel's parameter is called in a set."""
    return parameter if parameter in SHARED else f"{parameter}_{number}"


def first_block(number: int) -> str:
    """The parameter that says with which block a set begins, from the second on."""
    return f"first_{number}"


@functools.cache
def multi_tensor(kernel: Kernel, count: int) -> Kernel:
    """The CUDA kernel for ``count`` sets: all their parameters, those in ``SHARED`` once, then where sets begin.

    The kernel knows its place by ``cuda.grid(1)`` and ``cuda.blockIdx.x`` alone, and no helper of its asks for it.
    """
    definition, sets = _definition(kernel.function), range(count)
    own = [name for name in kernel.args if name not in SHARED]
    params = list(dict.fromkeys(of_set(name, number) for number in sets for name in kernel.args))
    params += [first_block(number) for number in sets[1:]]
    name = f"{definition.name}_of_{count}"
    lines = [f"def {name}({', '.join(params)}):", f"    {_chosen(own, 0)}; {_FIRST} = 0"]
    for number in sets[1:]:
        lines.append(f"    if cuda.blockIdx.x >= {first_block(number)}:")
        lines.append(f"        {_chosen(own, number)}; {_FIRST} = {first_block(number)}")
    lines.append(f"    {_SET} = cuda.blockIdx.x - {_FIRST}")
    body = [_InSet().visit(statement) for statement in definition.body]
    lines.append(textwrap.indent("\n".join(map(ast.unparse, body)), "    "))
    function = _compiled("\n".join(lines), name, kernel.function)
    writes = tuple(of_set(one, number) for number in sets for one in kernel.writes)
    options: dict[str, Any] = {"threads": kernel.threads, "per_thread": kernel.per_thread}
    return forward("cuda", over=of_set(kernel.over, 0), writes=writes, **options)(function)


def _chosen(names: Iterable[str], number: int) -> str:
    return f"{', '.join(names)} = {', '.join(of_set(name, number) for name in names)}"


class _InSet(ast.NodeTransformer):
    """Positions within a set in place of those in the grid."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node) == "cuda.grid(1)":
            return ast.parse(f"{_SET} * cuda.blockDim.x + cuda.threadIdx.x", mode="eval").body
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Name(_SET, ast.Load()) if ast.unparse(node) == "cuda.blockIdx.x" else self.generic_visit(node)


def _definition(function: Callable[..., Any]) -> ast.FunctionDef:
    text = getattr(function, "__netspec_source__", None) or inspect.getsource(function)
    (definition,) = ast.parse(textwrap.dedent(text)).body
    assert isinstance(definition, ast.FunctionDef)
    return definition


def _compiled(source: str, name: str, around: Callable[..., Any]) -> Callable[..., Any]:
    scope: dict[str, Any] = {**around.__globals__, "cuda": cuda}
    exec(source, scope)  # the text is a kernel's own and names
    made = scope[name]
    made.__qualname__ = f"{around.__qualname__.rpartition('.')[0]}.{name}"
    made.__netspec_source__ = source
    return made  # type: ignore[no-any-return]
