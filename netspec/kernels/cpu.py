"""Compilation for CPUs with numba, cached on disk by content."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba.core.caching import CompileResultCacheImpl, FunctionCache

from netspec.kernels.cache import Locator, content_folder
from netspec.kernels.source import Prepared, prepare

# Contraction and reassociation let reductions be vectorised. NaN and infinity keep their meaning.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}


@functools.cache
def compile_cpu(function: Callable[..., Any], dtype: str) -> Any:
    """The numba dispatcher of a marked kernel for a compute dtype."""
    return _jit(prepare(function, dtype))


@functools.cache
def compile_host(function: Callable[..., Any], dtype: str) -> Any:
    """A ``host=True`` pass: it stays Python, the helpers that it calls are compiled."""
    return prepare(function, dtype).build(_jit)


_compiled: dict[str, Any] = {}


def _jit(prepared: Prepared) -> Any:
    if prepared.digest not in _compiled:
        plain = prepared.build(_jit)
        dispatcher = numba.njit(nogil=True, error_model="numpy", fastmath=_FASTMATH)(plain)
        folder = content_folder(prepared.digest, _target())
        if folder is not None:
            dispatcher._cache = _ContentCache(plain, folder)
        _compiled[prepared.digest] = dispatcher
    return _compiled[prepared.digest]


@functools.cache
def _target() -> str:
    """Everything beside the source that decides the machine code."""
    features = sorted(name for name, on in binding.get_host_cpu_features().items() if on)
    parts = (numba.__version__, llvmlite.__version__, sys.version, binding.get_host_cpu_name(), *features)
    return "\n".join((*parts, *sorted(_FASTMATH)))


class _Impl(CompileResultCacheImpl):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        self._lineno = 0
        self._locator = Locator(folder)
        self._filename_base = "kernel"


class _ContentCache(FunctionCache):  # type: ignore[misc]
    """numba's function cache on a folder of our own."""

    def __init__(self, function: Any, folder: Path) -> None:
        self._impl_class = lambda _: _Impl(folder)
        super().__init__(function)
