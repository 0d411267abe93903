"""The environment record: what a second person needs to repeat a run."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from netspec._version import __version__

_PACKAGES = "numpy numba llvmlite numba-cuda pillow simplejpeg pyyaml threadpoolctl".split()
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


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
        "variables": {name: os.environ[name] for name in _THREADS if name in os.environ},
        **(details or {}),
    }


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
