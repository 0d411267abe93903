"""The place that imports numba.cuda, or numba-cuda-mlir in its place where NETSPEC_CUDA_FRONTEND says so.

stored_bfloat16 beside it extends numba.cuda: the other has no such arrays. It compiles, for the emulator and the gates;
what cards are driven with, below and in netspec.device.cuda, is numba.cuda's (netspec.device.gpus.obstacle says so).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import config

from netspec.errors import NetspecError
from netspec.kernels.cache import Locator, SharedFiles
from netspec.kernels.frontend import frontend, is_mlir

if config.ENABLE_CUDASIM:  # numba.cuda is then another module, without a compiler
    raise NetspecError("NUMBA_ENABLE_CUDASIM is set, and GPU kernels do not run in numba's simulator: unset it")

with warnings.catch_warnings():
    # At its import numba-cuda, 0.30.4 for one, makes a timedelta without a unit, which NumPy deprecates from 2.5 on.
    # Told by its place: NumPy's words for it change with its patch releases.
    warnings.filterwarnings("ignore", "", DeprecationWarning, r"numba\.cuda\.np\.npdatetime_helpers")
    from numba import cuda as _module

MLIR = is_mlir()
if MLIR:
    from netspec.kernels import mlir
    from netspec.kernels.mlir import cuda as _module
    from netspec.kernels.mlir import types as types
else:
    from numba.cuda import types as types

# numba-cuda, 0.30.4 for one, names this when it first compiles; NumPy has it no more from 2.5 on
vars(np).setdefault("row_stack", np.vstack)
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # small networks have small grids: nothing to warn of

cuda: Any = _module
"""The module ``numba.cuda``, or its like."""
TARGET = f"GPUs by {frontend()}" if MLIR else "GPUs"
"""What messages say that a kernel is compiled for."""


def intrinsic(define: Callable[..., Any]) -> Any:
    """A function that generates its own code in kernels, see numba's extending.intrinsic."""
    if MLIR:
        return mlir.intrinsic(define)
    from numba.cuda import extending

    return extending.intrinsic(define)


def named_intrinsic(define: Callable[..., Any], *names: Any) -> Any:
    """``intrinsic`` of a function that a factory has made, under a name of its own: names count in a kernel's hash."""
    define.__name__ = define.__qualname__ = "_".join(map(str, names))
    return intrinsic(define)


def jit(
    function: Callable[..., Any], *, device: bool = False, folder: Path | None = None, bound: int = 0
) -> Any:
    """Compile a kernel, or a device function, when it is first called with a kind of arguments.

    ``bound``: the most threads of a block that it is launched with; 0: any number. Kernels are kept in ``folder``,
    whose name must stand for all that decides their machine code. They are assembled from the PTX that the compile gate
    and the emulator see: at link time, which numba-cuda would do by itself, they would be compiled once more,
    otherwise, and in twice the time.
    """
    if MLIR:
        return mlir.helper(function)
    dispatcher = _module.jit(function, device=device, lto=False, launch_bounds=_bounds(bound))
    if folder is not None and not device:
        dispatcher._cache = _content_cache(function, folder)
    return dispatcher


def compile_ptx(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    capability: tuple[Any, ...],
    lines: bool = False,
    bound: int = 0,
) -> str:
    """PTX of a kernel for argument types and a compute capability such as (9, 0); needs neither GPU nor driver.

    ``lines``: with line information (``.loc``), which may change the order of instructions. ``bound``: see ``jit``.
    """
    if MLIR:
        return mlir.compile_ptx(function, args, capability, lines, _bounds(bound))
    with _as_if_on(capability), warnings.catch_warnings():
        if lines:  # of functions made by exec numba does not find the source: it needs the lines alone
            warnings.simplefilter("ignore")
        options = {"cc": capability, "lineinfo": lines, "launch_bounds": _bounds(bound)}
        text, _ = _module.compile_ptx(function, types.void(*args), **options)
    return str(text)


def _bounds(bound: int) -> tuple[int, int] | None:
    """At least one block of so many threads on a multiprocessor: setmaxnreg asks for both to be known."""
    return (bound, 1) if bound else None


def device_function_with_lines(function: Callable[..., Any]) -> Any:
    """A helper of kernels that are compiled with line information."""
    if MLIR:
        return mlir.helper(function, lines=True)
    return _module.jit(function, device=True, lto=False, lineinfo=True)


@contextmanager
def _as_if_on(capability: tuple[Any, ...]) -> Iterator[None]:
    """Stand in for the current card: device functions ask it for a capability, even where the kernel names one."""
    from numba.cuda import dispatcher

    real = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = real


def type_of(value: Any) -> Any:
    """The compiler's type of an argument; of arrays of bfloat16 the one in netspec.kernels.stored_arrays."""
    from numba.cuda.typing.typeof import Purpose, typeof

    kind = mlir.type_of(value) if MLIR else typeof(value, Purpose.argument)
    stored = isinstance(kind, types.Array) and value.dtype.name == "bfloat16"
    return array_type("bfloat16", kind.ndim, kind.layout) if stored else kind


def array_type(dtype: str, axes: int, layout: str = "C") -> Any:
    """The compiler's type of an array: C-contiguous, or "A" for any strides."""
    if dtype == "bfloat16":
        from netspec.kernels.stored_arrays import StoredArray

        return StoredArray(axes, layout)
    return types.Array(getattr(types, dtype), axes, layout)


def scalar_type(dtype: str) -> Any:
    """The compiler's type of a number."""
    return getattr(types, dtype)


def tuple_type(*dtypes: str) -> Any:
    """The compiler's type of a tuple of numbers."""
    return types.BaseTuple.from_types([getattr(types, dtype) for dtype in dtypes])


def loaded(dispatcher: Any, signature: tuple[Any, ...]) -> tuple[Any, int, bool]:
    """A compiled kernel on the current card: its CUkernel, the card's number, whether to launch it cooperatively.

    Rests on what numba-cuda, 0.30.4 for one, has no public name for: _Kernel.bind, _codelibrary.get_cufunc(), whose
    ``handle`` and ``device`` are these, and _Kernel.cooperative.
    """
    kernel = dispatcher.compile(signature)
    kernel.bind()
    function = kernel._codelibrary.get_cufunc()
    return function.handle, int(function.device.id), bool(kernel.cooperative)


def driver_error() -> type[Exception]:
    """What the driver's failures are raised as; ``code`` holds the driver's number."""
    from numba.cuda.cudadrv.driver import CudaAPIError

    return CudaAPIError  # type: ignore[no-any-return]


def versions() -> str:
    """Names and versions of what turns Python into machine code."""
    import numba

    if MLIR:
        return f"numba-cuda-mlir {mlir.version}"
    own = getattr(_module, "__version__", "")
    return f"numba {numba.__version__}, numba-cuda {own or _package_version()}"


def _package_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("numba-cuda")
    except PackageNotFoundError:
        return "unknown"


def _content_cache(function: Callable[..., Any], folder: Path) -> Any:
    from numba.cuda.dispatcher import CUDACache, CUDACacheImpl

    class Impl(CUDACacheImpl):  # type: ignore[misc]
        def __init__(self, _: Any) -> None:
            self._lineno = 0
            self._locator = Locator(folder)
            self._filename_base = "kernel"

    class ContentCache(CUDACache):  # type: ignore[misc]
        """numba-cuda's kernel cache on a folder of our own."""

        _impl_class = Impl

        def save_overload(self, signature: Any, kernel: Any) -> None:
            """As numba-cuda does; a full disk or a folder that is gone costs the next process a compilation."""
            with suppress(OSError):
                super().save_overload(signature, kernel)

    cache = ContentCache(function)
    files = type("Files", (SharedFiles, type(cache._cache_file)), {})
    cache._cache_file = files(cache._cache_path, cache._impl.filename_base, cache._impl.locator.get_source_stamp())
    return cache


def is_stored(dispatcher: Any, signature: tuple[Any, ...]) -> bool | None:
    """Whether the cache on disk holds the kernel for a signature and the current card; None where there is no cache."""
    cache = dispatcher._cache
    if not hasattr(cache, "_cache_file"):
        return None
    found: bool = cache._cache_file.holds(cache._index_key(signature, dispatcher.targetctx.codegen()))
    return found
