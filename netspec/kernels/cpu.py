"""Compilation for CPUs with numba, cached on disk by content: one folder a hash, so no index is ever shared."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba.core.caching import CompileResultCacheImpl, FunctionCache

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
        folder = _folder(prepared.digest)
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


def cache_root() -> Path:
    """Where compiled kernels are kept: $NETSPEC_CACHE_DIR, else the user's cache folder."""
    own = os.environ.get("NETSPEC_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(base) / "netspec"


def _folder(digest: str) -> Path | None:
    name = blake2b(f"{digest}\n{_target()}".encode(), digest_size=16).hexdigest()
    folder = cache_root() / "kernels" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home: kernels are then compiled in each process
        return None
    return folder if os.access(folder, os.W_OK) else None


class _Locator:
    """Tells numba's cache where a kernel's files lie; their folder's name already stands for the content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_cache_path(self) -> str:
        return str(self.folder)

    def ensure_cache_path(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def get_source_stamp(self) -> str:
        return self.folder.name

    def get_disambiguator(self) -> None:
        return None


class _Impl(CompileResultCacheImpl):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        self._lineno = 0
        self._locator = _Locator(folder)
        self._filename_base = "kernel"


class _ContentCache(FunctionCache):  # type: ignore[misc]
    """numba's function cache on a folder of our own."""

    def __init__(self, function: Any, folder: Path) -> None:
        self._impl_class = lambda _: _Impl(folder)
        super().__init__(function)
