"""What assigning to a slice of another shape raises in kernels for CPUs: known to compilations alone.

Importing this imports what numba has for arrays, which running cached code does not need.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from numba.extending import overload
from numba.np import arrayobj


@contextlib.contextmanager
def short_shape_error() -> Iterator[None]:
    """Within it, assignments of slices raise a ValueError that does not name the two shapes.

    numba's own message is put together in machine code: each process that compiles one of them would first compile
    numba's strings, for two seconds and more.
    """
    own = getattr(arrayobj, "raise_with_shape_context", None)
    if own is None:
        yield
        return
    arrayobj.raise_with_shape_context = _raise_shape_error
    try:
        yield
    finally:
        arrayobj.raise_with_shape_context = own


def _raise_shape_error(source: Any, target: Any) -> None:
    raise NotImplementedError  # an overload's Python face, which is never called


@overload(_raise_shape_error)  # type: ignore[untyped-decorator]
def _overload_shape_error(source: Any, target: Any) -> Callable[..., None]:
    def impl(source: Any, target: Any) -> None:
        raise ValueError("cannot assign slice from input of different shape")

    return impl
