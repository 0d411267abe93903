"""Launches of kernels whose arguments are prepared once, so that each is one call of the driver."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cuda.bindings import driver as cu

from netspec.device.cuda.arguments import flattened
from netspec.device.cuda.driver import Refused, check
from netspec.kernels import numba_cuda
from netspec.kernels.parallel import Work
from netspec.units import size

_SHARED = cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_SUCCESS = cu.CUresult.CUDA_SUCCESS


class Launch:
    """A compiled kernel with its arguments: a call enqueues it in a stream of the card whose context is current.

    Arguments are arrays of the card, numbers and tuples of numbers, none of which changes from call to call; it holds
    them, so that their memory stays. The first call prepares them, and compiles what is not compiled yet. ``shared`` is
    a block's bytes of dynamic shared memory. Raises Refused, which names the kernel, where the driver refuses.
    """

    def __init__(
        self,
        work: Work,
        grid: Sequence[int],
        threads: Sequence[int],
        stream: int,
        values: Sequence[Any],
        shared: int = 0,
    ) -> None:
        self._work, self._grid, self._threads = work, grid, threads
        self._stream, self._values, self._shared = stream, values, shared
        self._enqueue: Callable[[], tuple[Any, ...]] | None = None

    def __call__(self) -> None:
        """Enqueue it."""
        if self._enqueue is None:
            self._enqueue = self._prepared()
        (status,) = self._enqueue()
        if status != _SUCCESS:
            self._checked("at the launch", (status,))

    def _prepared(self) -> Callable[[], tuple[Any, ...]]:
        self._work.compile()
        with self._work.place():
            kernel, card, cooperative = numba_cuda.loaded(self._work.dispatcher, self._work.signature)
            self._allow(kernel, card)
            entry = self._checked("when it is loaded", cu.cuKernelGetFunction(kernel))
        parts = [part for value in self._values for part in flattened(value)]
        self._parts = [ctypes.create_string_buffer(part, len(part)) for part in parts]
        self._places = (ctypes.c_void_p * len(self._parts))(*map(ctypes.addressof, self._parts))
        config = configuration(self._grid, self._threads, self._stream, self._shared, cooperative)
        return partial(cu.cuLaunchKernelEx, config, entry, ctypes.addressof(self._places), 0)

    def _allow(self, kernel: Any, card: int) -> None:
        """Let it have its dynamic shared memory. Another launch of the kernel may have asked for more."""
        if self._shared > self._checked("of its shared memory", cu.cuKernelGetAttribute(_SHARED, kernel, card)):
            asked = f"asked for {size(self._shared)} of shared memory a block"
            self._checked(asked, cu.cuKernelSetAttribute(_SHARED, self._shared, kernel, card))

    def _checked(self, when: str, result: tuple[Any, ...]) -> Any:
        try:
            return check(result)
        except Refused as error:
            raise Refused(f"{self._work.kernel}, {when}: {error}") from None


def configuration(
    grid: Sequence[int], threads: Sequence[int], stream: int, shared: int, cooperative: bool
) -> cu.CUlaunchConfig:
    """What cuLaunchKernelEx takes beside the kernel and its arguments."""
    config = cu.CUlaunchConfig()
    config.gridDimX, config.gridDimY, config.gridDimZ = _three(grid)
    config.blockDimX, config.blockDimY, config.blockDimZ = _three(threads)
    config.sharedMemBytes, config.hStream = shared, cu.CUstream(stream)
    if cooperative:
        config.attrs, config.numAttrs = [_cooperative()], 1
    return config


def _cooperative() -> cu.CUlaunchAttribute:
    value = cu.CUlaunchAttributeValue()
    value.cooperative = 1
    attribute = cu.CUlaunchAttribute()
    attribute.id, attribute.value = cu.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_COOPERATIVE, value
    return attribute


def _three(extent: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*extent, 1, 1)[:3]
    return x, y, z
