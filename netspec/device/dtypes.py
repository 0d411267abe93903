"""numpy's dtypes of the names that plans use, bfloat16 among them, which numpy itself does not have."""

from __future__ import annotations

from typing import Any

import numpy as np


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The dtype of that name; bfloat16 is ml_dtypes'."""
    if name == "bfloat16":
        import ml_dtypes  # noqa: F401  numpy knows the name from here on
    return np.dtype(name)


def widened(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same numbers as float32 where they are bfloat16, for which numpy has little arithmetic."""
    return values.astype(np.float32) if values.dtype.name == "bfloat16" else values


def compute_dtype(array: Any) -> str:
    """What kernels compute with on such an array: of bfloat16 with float32."""
    name = str(array.dtype)
    return "float32" if name == "bfloat16" else name
