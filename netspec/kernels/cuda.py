"""Compilation for GPUs with numba.cuda, cached on disk by content as CPU kernels are."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from netspec.kernels import numba_cuda
from netspec.kernels.cache import content_folder
from netspec.kernels.specialise import Prepared, prepare


@functools.cache
def compile_cuda(function: Callable[..., Any], dtype: str, stored_through: Callable[..., Any] | None = None) -> Any:
    """The numba.cuda dispatcher of a marked kernel for a compute dtype: ``dispatcher[grid, threads, stream](...)``.

    ``stored_through`` is its epilogue, see netspec.kernels.epilogue.
    """
    prepared = prepare(function, dtype, stored_through)
    return numba_cuda.jit(prepared.build(_helper), folder=content_folder(prepared.digest, _target()))


@functools.cache
def plain_cuda(
    function: Callable[..., Any], dtype: str, stored_through: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """The prepared kernel as a Python function with its helpers compiled: what ``compile_ptx`` takes."""
    return prepare(function, dtype, stored_through).build(_helper)


@functools.cache
def compile_host(function: Callable[..., Any], dtype: str) -> Callable[..., Any]:
    """A ``host=True`` pass: it and its helpers stay Python, the primitives that it calls are kernels."""
    return prepare(function, dtype).build(_plain)


_helpers: dict[str, Any] = {}


def _helper(prepared: Prepared) -> Any:
    if prepared.digest not in _helpers:
        _helpers[prepared.digest] = numba_cuda.jit(prepared.build(_helper), device=True)
    return _helpers[prepared.digest]


def _plain(prepared: Prepared) -> Any:
    return prepared.build(_plain)


@functools.cache
def _target() -> str:
    """Everything beside the source and the card that decides the machine code; numba-cuda's index adds the card."""
    return f"cuda, from PTX\n{numba_cuda.versions()}\n{sys.version}"
