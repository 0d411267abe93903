"""The machine and the versions at work, found out without touching the card: the report's first section."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NEEDED = {
    "numpy": "numpy",
    "numba": "numba",
    "llvmlite": "llvmlite",
    "numba_cuda": "numba-cuda",
    "cuda.bindings": "cuda-bindings",
    "cuda.core": "cuda-core",
    "cuda.pathfinder": "cuda-pathfinder",
    "yaml": "pyyaml",
    "PIL": "pillow",
    "threadpoolctl": "threadpoolctl",
}
"""Modules without which nothing of ours runs, and the packages that bring them."""
_TOLD = (
    *NEEDED.values(),
    *("nvidia-nvvm", "nvidia-cuda-nvrtc", "nvidia-nvjitlink", "nvidia-cuda-runtime", "cuda-toolkit"),
    *("jsonschema", "simplejpeg", "pytest", "pytest-xdist", "torch", "triton"),
)
_ASKED = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit"
_TOOLKIT = Path("/usr/local/cuda")


def describe() -> dict[str, Any]:
    """The card, the driver's and the packages' versions, where the compiler's libraries lie."""
    from netspec.device.gpus import driver_version, gpus

    cards = [f"{card.name}, {card.memory / 2**30:.0f} GiB, compute capability {card.capability}" for card in gpus()]
    known = {name: _version(name) for name in _TOLD}
    compilers = ("python", "numba", "numba-cuda", "cuda-core", "cuda-bindings", "torch")
    short = {**known, "python": platform.python_version()}
    versions = ", ".join(f"{name} {short[name] or 'absent'}" for name in compilers)
    return {
        "answer": f"{'; '.join(cards) or 'no card'}; driver for CUDA {driver_version()}; {versions}",
        "cards": cards,
        "driver": f"CUDA {driver_version()}",
        "nvidia-smi": _nvidia_smi(),
        "python": f"{platform.python_version()} ({sys.executable})",
        "packages": [f"{name} {number}" for name, number in known.items() if number],
        "absent": [name for name, number in known.items() if not number],
        "cores": len(os.sched_getaffinity(0)),
        "libnvvm": [str(path) for path in _libraries("libnvvm.so*")],
        "CUDA_HOME": os.environ.get("CUDA_HOME", ""),
    }


def missing() -> list[str]:
    """Packages without which nothing of ours runs and that are not here."""
    return [package for module, package in NEEDED.items() if not _importable(module)]


def _importable(module: str) -> bool:
    with suppress(ModuleNotFoundError):  # the package around it is not there
        return find_spec(module) is not None
    return False


def _version(package: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(package)
    return None


def _nvidia_smi() -> str:
    command = ["nvidia-smi", f"--query-gpu={_ASKED}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}"


def _libraries(pattern: str) -> list[Path]:
    places = [_TOOLKIT / "nvvm" / "lib64", _TOOLKIT / "lib64", _TOOLKIT / "lib"]
    places += [Path(path) / "nvidia" / "cu13" / "lib" for path in sys.path if path]
    return [path for place in places for path in sorted(place.glob(pattern))]
