"""Primitives for composition on GPUs: what a ``host=True`` pass calls, each one kernel launched in the pass's queue.

Plain kernels, the same bits each time; layers that need more speed have CUDA kernels of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netspec.contract.kernel import cuda, quotient
from netspec.device.cuda.kernel_launch import Launch
from netspec.device.dtypes import compute_dtype
from netspec.errors import NetspecError
from netspec.kernels import numba_cuda
from netspec.kernels.cuda import compile_cuda
from netspec.kernels.parallel import Work

Matrix = Any
TILE, TILE_ROW = 16, 17
"""Rows and columns of out that a block of TILE x TILE threads computes; a row in shared memory has one to spare."""
COLUMNS, LANES = 32, 16
"""Columns that a block sums, and threads to a column, each of which takes every sixteenth row."""
THREADS = 256
"""Threads of a block that works through elements."""


class CudaOps:
    """The primitives of netspec.device.cpu.ops on device arrays or slices of them, in one queue of one device."""

    def __init__(self, card: int, stream: int) -> None:
        self._card, self._stream = card, stream

    def gemm(self, a: Matrix, b: Matrix, out: Matrix, *, trans_a: bool = False, trans_b: bool = False) -> None:
        """out = op(a) @ op(b) for matrices (M, K) and (K, N), op transposing where asked."""
        m, k = reversed(a.shape) if trans_a else a.shape
        other, n = reversed(b.shape) if trans_b else b.shape
        if other != k or tuple(out.shape) != (m, n):
            shapes = f"{tuple(a.shape)} and {tuple(b.shape)} into {tuple(out.shape)}"
            raise NetspecError(f"gemm cannot multiply {shapes} (trans_a={trans_a}, trans_b={trans_b})")
        grid = (-(-n // TILE), -(-m // TILE))
        self._launch(gemm, grid, (TILE, TILE), a, b, out, k, trans_a, trans_b)

    def sum_rows(self, a: Matrix, out: Matrix) -> None:
        """out[j] = the sum over rows of a (M, N)."""
        self._launch(sum_rows, (-(-a.shape[1] // COLUMNS),), (COLUMNS, LANES), a, out)

    def add_row(self, a: Matrix, row: Matrix) -> None:
        """a[i, j] += row[j]."""
        self._launch(add_row, (-(-a.size // THREADS),), (THREADS,), a, row)

    def _launch(self, kernel: Callable[..., Any], grid: tuple[int, ...], threads: tuple[int, ...], *args: Any) -> None:
        dtype, types = compute_dtype(args[0]), tuple(map(numba_cuda.type_of, args))
        work = Work(f"primitive:{kernel.__name__}", dtype, compile_cuda(kernel, dtype), types, self._card)
        Launch(work, grid, threads, self._stream, args)()


def gemm(a, b, out, depth, trans_a, trans_b):  # type: ignore[no-untyped-def]
    """A tile of out a block: tiles of op(a) and op(b) pass through shared memory."""
    tile_a = cuda.shared.array((TILE, TILE_ROW), a.dtype)
    tile_b = cuda.shared.array((TILE, TILE_ROW), a.dtype)
    column, row = cuda.threadIdx.x, cuda.threadIdx.y
    first_row, first_column = cuda.blockIdx.y * TILE, cuda.blockIdx.x * TILE
    total = 0.0
    for start in range(0, depth, TILE):
        # threads of neighbouring columns read neighbouring elements, whichever way the matrix lies
        i, k = (first_row + column, start + row) if trans_a else (first_row + row, start + column)
        value = 0.0
        if i < out.shape[0] and k < depth:
            value = a[k, i] if trans_a else a[i, k]
        if trans_a:
            tile_a[column, row] = value
        else:
            tile_a[row, column] = value
        j, k = (first_column + row, start + column) if trans_b else (first_column + column, start + row)
        value = 0.0
        if j < out.shape[1] and k < depth:
            value = b[j, k] if trans_b else b[k, j]
        if trans_b:
            tile_b[column, row] = value
        else:
            tile_b[row, column] = value
        cuda.syncthreads()
        for step in range(TILE):
            total += tile_a[row, step] * tile_b[step, column]
        cuda.syncthreads()
    if first_row + row < out.shape[0] and first_column + column < out.shape[1]:
        out[first_row + row, first_column + column] = total


def sum_rows(a, out):  # type: ignore[no-untyped-def]
    """Columns side by side, rows dealt to lanes, the lanes' sums added up in their order."""
    partial = cuda.shared.array((LANES, COLUMNS), a.dtype)
    lane, column = cuda.threadIdx.y, cuda.threadIdx.x
    j = cuda.blockIdx.x * COLUMNS + column
    total = 0.0
    if j < a.shape[1]:
        for row in range(lane, a.shape[0], LANES):
            total += a[row, j]
    partial[lane, column] = total
    cuda.syncthreads()
    if lane == 0 and j < a.shape[1]:
        for other in range(1, LANES):
            total += partial[other, column]
        out[j] = total


def add_row(a, row):  # type: ignore[no-untyped-def]
    """An element a thread."""
    i, columns = cuda.grid(1), a.shape[1]
    if i < a.size:
        at = quotient(i, columns) if a.size < 2**31 else i // columns  # type: ignore[operator]
        a[at, i - at * columns] += row[i - at * columns]


KERNELS = (gemm, sum_rows, add_row)
"""The primitives' kernels, for the compile gate."""
