"""Which package compiles Python into CUDA kernels: numba-cuda, or its successor, which docs/cuda.md measures."""

from __future__ import annotations

import os

from netspec.errors import NetspecError

VARIABLE = "NETSPEC_CUDA_FRONTEND"
FRONTENDS = ("numba-cuda", "numba-cuda-mlir")


def frontend() -> str:
    """One of FRONTENDS, as the environment says, or the first; raises NetspecError for another word."""
    word = os.environ.get(VARIABLE) or FRONTENDS[0]
    if word not in FRONTENDS:
        raise NetspecError(f"{VARIABLE} is '{word}', and must be {FRONTENDS[0]} or {FRONTENDS[1]}")
    return word


def is_mlir() -> bool:
    """Whether it is the successor, which compiles for the emulator and the gates, and launches nothing on cards."""
    return frontend() == FRONTENDS[1]
