"""Discovery of the CUDA toolkit's libraries (libNVVM, NVRTC), by numba-cuda's search paths and beside them."""

from __future__ import annotations

import ctypes
import functools
import os
from contextlib import suppress
from pathlib import Path


def finds_compiler() -> bool:
    """Whether the libraries that turn kernels into code can be loaded, by numba-cuda's own way of looking for them."""
    return all(_found(library) or (_loads(library) and _found(library)) for library in ("nvvm", "nvrtc"))


@functools.cache
def compiler() -> str:
    """Which libNVVM compiles kernels: its file's name and size, since it tells no exact version."""
    file = _found("nvvm") if finds_compiler() else None
    return f"{file.name} of {file.stat().st_size} bytes" if file is not None else "no libNVVM"


def _found(library: str) -> Path | None:
    """The file of a library, which is loaded; None where it is not found."""
    try:
        from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib
    except ImportError:
        return None
    try:
        return Path(str(load_nvidia_dynamic_lib(library).abs_path))
    except (DynamicLibNotFoundError, RuntimeError, OSError):
        return None


def _loads(library: str) -> bool:
    """Load it from where toolkits have it but numba-cuda does not look; what is loaded is then found."""
    home = Path(os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda")
    places = (home / "nvvm" / "lib64", home / "lib64", home / "lib")
    files = [file for place in places for file in sorted(place.glob(f"lib{library}.so*"))]
    for file in files:
        with suppress(OSError):
            ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
            return True
    return False
