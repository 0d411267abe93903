"""The CUDA compiler's libraries: whether they are there, found by numba-cuda's own search or beside it."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path


def finds_compiler() -> bool:
    """Whether the libraries that turn kernels into code can be loaded, by numba-cuda's own way of looking for them."""
    return all(_finds(library) or (_loads(library) and _finds(library)) for library in ("nvvm", "nvrtc"))


def _finds(library: str) -> bool:
    try:
        from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib
    except ImportError:
        return False
    try:
        load_nvidia_dynamic_lib(library)
    except (DynamicLibNotFoundError, RuntimeError, OSError):
        return False
    return True


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
