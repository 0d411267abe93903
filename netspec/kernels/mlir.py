"""What numba-cuda-mlir, 0.6.0 for one, does in another way than numba-cuda, see netspec.kernels.numba_cuda."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from netspec.errors import NetspecError
from netspec.kernels.frontend import VARIABLE

try:
    from numba_cuda_mlir import __version__ as version
    from numba_cuda_mlir import cuda as _module
    from numba_cuda_mlir import extending, tools, types
    from numba_cuda_mlir.errors import UserFacingInternalCompilerError
    from numba_cuda_mlir.numba_cuda.typing.typeof import Purpose, typeof
except ImportError as error:
    raise NetspecError(
        f"{VARIABLE} asks for numba-cuda-mlir, which cannot be imported ({error}): pip install numba-cuda-mlir"
    ) from error

cuda: Any = _module
__all__ = ["Lacking", "compile_ptx", "cuda", "helper", "intrinsic", "type_of", "types", "version"]


class Lacking(TypeError):
    """What a kernel needs and numba-cuda-mlir has not."""


def intrinsic(define: Callable[..., Any]) -> Any:
    """An intrinsic whose code, written for llvmlite, is generated as MLIR."""
    from netspec.kernels.mlir_builder import lowered

    @functools.wraps(define)
    def typed(*args: Any) -> Any:
        given = define(*args)
        return given and (given[0], lowered(given[1], given[0], tools._cached_cc))

    return extending.intrinsic(typed)


def named_tuples(function: Callable[..., Any]) -> None:
    """Have the named tuples that a function reaches made of their fields, for which there is no code."""
    for kind in function.__globals__.values():
        if isinstance(kind, type) and hasattr(kind, "_fields") and kind not in _known:
            extending.lower_builtin(kind, types.VarArg(types.Any))(_make_tuple)
            _known.add(kind)


_known: set[type] = set()


def _make_tuple(lowering: Any, target: Any, args: Sequence[Any], _: Any) -> None:
    lowering.store_var(target, tuple(map(lowering.load_var, args)))


def helper(function: Callable[..., Any], lines: bool = False) -> Any:
    """A device function, which is compiled with the kernel that calls it."""
    named_tuples(function)
    return cuda.jit(function, device=True, lto=False, lineinfo=lines)


def compile_ptx(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    capability: tuple[Any, ...],
    lines: bool,
    bounds: tuple[int, int] | None,
) -> str:
    """See netspec.kernels.numba_cuda. ``compile_ptx(cc=)`` drops the "a" of sm_90a, ``jit(chip=)`` does not."""
    if strange := [kind for kind in args if not isinstance(kind, types.Type)]:
        raise Lacking(f"{strange[0]} extends numba-cuda's types, which numba-cuda-mlir does not take")
    named_tuples(function)
    tools._cached_cc = capability[:2]  # else it asks the current card, even where the target is named
    chip = f"sm_{''.join(map(str, capability))}"
    kernel = cuda.jit(function, chip=chip, lto=False, lineinfo=lines, launch_bounds=bounds)
    extending.refresh_registries()  # intrinsics and named tuples that are new since it compiled last
    try:
        text, _ = cuda.compile_ptx(kernel, types.void(*args))
    except UserFacingInternalCompilerError as error:  # says only that there is a bug
        raise Lacking(" ".join(str(error.__context__).splitlines()[:2])) from error
    return str(text)


def type_of(value: Any) -> Any:
    """The compiler's type of an argument."""
    return typeof(value, Purpose.argument)
