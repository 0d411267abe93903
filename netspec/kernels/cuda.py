"""Compilation for GPUs with numba.cuda, cached on disk by content as CPU kernels are."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from netspec.kernels import numba_cuda, stored_bfloat16
from netspec.kernels.cache import content_folder, kept_text
from netspec.kernels.compile_error import told_of
from netspec.kernels.specialise import Prepared, prepare
from netspec.kernels.toolkit import compiler


@functools.cache
def compile_cuda(
    function: Callable[..., Any], dtype: str, stored_through: Callable[..., Any] | None = None, bound: int = 0
) -> Any:
    """The numba.cuda dispatcher of a marked kernel for a compute dtype: ``dispatcher.compile(types)``.

    ``stored_through`` is its epilogue, see netspec.kernels.epilogue; ``bound`` as in Pass.
    """
    prepared = prepare(function, dtype, stored_through)
    folder = content_folder(prepared.digest, _target(bound))
    return numba_cuda.jit(prepared.build(_helper), folder=folder, bound=bound)


def ptx_of(
    function: Callable[..., Any],
    dtype: str,
    stored_through: Callable[..., Any] | None,
    types: tuple[Any, ...],
    capability: tuple[Any, ...],
    bound: int = 0,
) -> str:
    """PTX of a marked kernel for argument types and a compute capability, kept on disk by content; no GPU is needed.

    ``bound`` as in Pass. Raises KernelError where it cannot be compiled.
    """
    prepared = prepare(function, dtype, stored_through)
    folder = content_folder(prepared.digest, f"{types}\n{capability}\n{_target(bound)}")

    def compiled() -> str:
        with told_of(function, numba_cuda.TARGET):
            return numba_cuda.compile_ptx(prepared.build(_helper), types, capability, bound=bound)

    return kept_text(folder and folder / "kernel.ptx", compiled)


def ptx_with_lines(
    function: Callable[..., Any],
    dtype: str,
    stored_through: Callable[..., Any] | None,
    types: tuple[Any, ...],
    capability: tuple[Any, ...],
    bound: int = 0,
) -> str:
    """What ``ptx_of`` gives, compiled anew with line information: for messages, nothing runs it or keeps it."""

    def helper(prepared: Prepared) -> Any:
        return numba_cuda.device_function_with_lines(prepared.build(helper))

    kernel = prepare(function, dtype, stored_through).build(helper)
    return numba_cuda.compile_ptx(kernel, types, capability, lines=True, bound=bound)


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
def _target(bound: int) -> str:
    """Everything beside the source and the card that decides the machine code; numba-cuda's index adds the card."""
    threads = f", blocks of {bound} threads at most" if bound else ""
    return f"cuda, from PTX{threads}\n{numba_cuda.versions()}\n{compiler()}\n{sys.version}\n{stored_bfloat16.SOURCE}"
