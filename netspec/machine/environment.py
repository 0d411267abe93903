"""The environment record: what a second person needs to repeat a run."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from netspec._version import __version__
from netspec.errors import NetspecError

_PACKAGES = "numpy numba llvmlite numba-cuda ml-dtypes pillow simplejpeg pyyaml threadpoolctl".split()
_COMPILING = ("numpy", "numba", "llvmlite")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
BF16_VARIABLE = "NETSPEC_CPU_BF16"
"""Says how CPUs do ``train.precision: bf16``, see netspec.device.cpu.bfloat16_unit."""
_VARIABLES = re.compile(
    f"(ATLAS|BLIS|CUDA|GOTO|JSIMD|KMP|MKL|NPY|NUMBA|NVIDIA|OMP|OPENBLAS|VECLIB)_[A-Z0-9_]+|{BF16_VARIABLE}"
)
"""Environment variables of libraries that compute, and the one of ours that says how."""
_CHOOSING = re.compile(
    "(ATLAS|BLIS|GOTO|MKL|NPY|NVIDIA|OPENBLAS|VECLIB)_.*(?<!_NUM_THREADS)(?<!_DIR)|NUMBA_(BOUNDSCHECK|CPU_.*|DEBUGINFO.*|"
    "DISABLE_INTEL_SVML|ENABLE_AVX|FORCE_CUDA_CC|CUDA_DEFAULT_PTX_CC|LLVM_.*|LOOP_VECTORIZE|OPT|SLP_VECTORIZE)"
)
"""Those that choose machine code. The number of BLAS's threads does not: it runs on one a caller, whatever is set."""


def describe_environment(devices: Sequence[str], details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Versions, processor, devices and the command line, as plain data; ``details`` are added."""
    return {
        "netspec": __version__,
        "python": sys.version.split()[0],
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": cores(),
        "memory_bytes": host_memory(),
        "devices": list(devices),
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "variables": {name: value for name, value in sorted(os.environ.items()) if _VARIABLES.fullmatch(name)},
        **(details or {}),
    }


def refuse_uncompiled() -> None:
    """Raise NetspecError where numba is told to compile nothing, by a variable or its configuration file, or is not
    to be loaded with its variables as they are."""
    try:
        from numba.core import config
    except ValueError as error:
        names = ", ".join(name for name in sorted(os.environ) if name.startswith("NUMBA_"))
        raise NetspecError(f"numba does not load: {error}; unset {names}") from error

    if config.DISABLE_JIT:
        where = "" if os.environ.get("NUMBA_DISABLE_JIT") else " in .numba_config.yaml"
        raise NetspecError(f"NUMBA_DISABLE_JIT is set{where}: kernels must be compiled; unset it")


def code_choices(devices: Iterable[str]) -> dict[str, str]:
    """What chooses, beside the program, the machine code that computes, and so the last bits of a run.

    ``devices`` are kinds of device with what tells models apart. BLAS is named with the cores that it was made for,
    as it chooses its kernels by processor, or by a variable.
    """
    versions = {name: found for name in _COMPILING if (found := _version(name))}
    kinds = ", ".join(dict.fromkeys(devices))
    return {"devices": kinds, "processor": processor(), "BLAS": _blas(), **versions, **choosing_variables()}


def choosing_variables() -> dict[str, str]:
    """The environment variables that are set and choose machine code."""
    return {name: value for name, value in sorted(os.environ.items()) if _CHOOSING.fullmatch(name)}


def _blas() -> str:
    """numpy's BLAS: library, version, and the kind of core whose kernels it runs."""
    import numpy  # noqa: F401  (loads it)
    from threadpoolctl import threadpool_info

    libraries = [each for each in threadpool_info() if each["user_api"] == "blas"]
    own = [each for each in libraries if "numpy" in each["filepath"]] or libraries
    return ", ".join(f"{e['internal_api']} {e['version']} {e.get('architecture', '')}".strip() for e in own[:1])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name as Linux tells it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def host_memory() -> int | None:
    """Bytes of memory that this process can have: the machine's, or its container's where that is less."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
    try:
        return min(physical, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit, which reads "max"
        return physical
