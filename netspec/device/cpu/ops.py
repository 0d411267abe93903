"""Primitives for composition on CPUs: what a ``host=True`` pass calls. Each caller is one thread, BLAS included.

Matrices that are stored as bfloat16 are widened, computed with in float32 and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from netspec.device.dtypes import widened

Matrix = np.ndarray[Any, Any]

_quiet = np.errstate(over="ignore", invalid="ignore")
"""Numbers that are not finite are found by the update and told in one message; numpy's warnings would add nothing."""


class CpuOps:
    """The primitives on numpy arrays; CudaOps has the same methods."""

    @staticmethod
    @_quiet
    def gemm(a: Matrix, b: Matrix, out: Matrix, *, trans_a: bool = False, trans_b: bool = False) -> None:
        """out = op(a) @ op(b) for matrices (M, K) and (K, N), op transposing where asked."""
        a, b = widened(a), widened(b)
        a, b = a.T if trans_a else a, b.T if trans_b else b
        if out.dtype == a.dtype:
            np.matmul(a, b, out=out)
        else:
            out[...] = a @ b

    @staticmethod
    @_quiet
    def sum_rows(a: Matrix, out: Matrix) -> None:
        """out[j] = the sum over rows of a (M, N)."""
        if "bfloat16" in (a.dtype.name, out.dtype.name):
            out[...] = np.sum(widened(a), axis=0)
        else:
            np.sum(a, axis=0, out=out)

    @staticmethod
    @_quiet
    def add_row(a: Matrix, row: Matrix) -> None:
        """a[i, j] += row[j]."""
        if "bfloat16" in (a.dtype.name, row.dtype.name):
            a[...] = widened(a) + widened(row)
        else:
            np.add(a, row, out=a)
