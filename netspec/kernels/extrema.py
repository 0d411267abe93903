"""``max`` and ``min`` as kernels have them: NaN is passed on, whichever argument it is, on every backend.

Those of the compilers are not alike: numba's on CPUs gives the first argument where the second is NaN, numba.cuda's is
PTX's ``max.f32``, which gives the other one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from netspec.contract.kernel import device


@device
def larger(a: Any, b: Any) -> Any:
    """The larger number; NaN where one is."""
    return b if b > a or b != b else a


@device
def smaller(a: Any, b: Any) -> Any:
    """The smaller number; NaN where one is."""
    return b if b < a or b != b else a


EXTREMA: Mapping[str, Callable[..., Any]] = {"max": larger, "min": smaller}
"""What calls of Python's functions become, by their names."""
