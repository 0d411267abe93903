"""Numbers as kernels take them: of the type that the kernel is compiled for."""

from __future__ import annotations

from typing import Any

import numpy as np


def scalar(name: str, value: Any, dtype: str) -> Any:
    """The value of a kernel's parameter: floats in the compute dtype, keys unsigned, tuples as plain ones."""
    if name == "key":
        return np.uint64(value)
    if isinstance(value, tuple):
        return tuple(scalar("", part, dtype) for part in value)
    return np.dtype(dtype).type(value) if isinstance(value, float) else value
