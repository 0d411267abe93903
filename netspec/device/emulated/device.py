"""The emulated GPU: launches what CudaDevice would, as the PTX that it would load, without a driver."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from netspec.contract.kernel import Backend
from netspec.contract.tensor import Shape
from netspec.contract.tensor_map import TensorMap
from netspec.device.base import Arrays, Call, Device, Lane
from netspec.device.cuda import tensor_maps
from netspec.device.cuda.arguments import arguments
from netspec.device.cuda.ops import CudaOps
from netspec.device.dtypes import compute_dtype, numpy_dtype
from netspec.device.emulated.compiled import check_order, lines_of, module_of, run
from netspec.device.emulated.diagnosis import kernel_error
from netspec.device.synchronous import SynchronousDevice, nbytes_of
from netspec.emulate import Fault, Memory
from netspec.emulate.map_encoding import encode
from netspec.emulate.memory import UNINITIALISED, Array
from netspec.errors import NetspecError
from netspec.kernels import numba_cuda
from netspec.kernels.cuda import compile_host
from netspec.kernels.epilogue import epilogue_of
from netspec.kernels.lookup import find_kernel
from netspec.planning.plan import Pass, Queue


class EmulatedCuda(SynchronousDevice):
    """``cuda:0`` of a compute capability, on one thread of the host: every call has finished when it returns.

    Arrays are numpy's, in the emulated memory; ``launches`` counts kernels.
    """

    kind: Backend = "cuda"
    team_size = 1
    read_beside = False

    def __init__(self, capability: tuple[int, int] = (9, 0), nbytes: int = 1 << 32) -> None:
        self.name = "cuda:0"
        self.capability: tuple[int, int] = capability
        self._target: tuple[Any, ...] = (*capability, "a") if capability >= (9, 0) else capability
        """What numba-cuda compiles for on such a card: from 9.0 on, with the instructions of that card alone."""
        self.memory = Memory(nbytes)
        self.launches = 0

    def empty(self, shape: Shape, dtype: str) -> Array:
        """See Device."""
        return self.carve(self.arena(nbytes_of(shape, dtype)), 0, shape, dtype)

    def arena(self, nbytes: int) -> Array:
        """See Device."""
        try:
            block = _Block(self.memory, max(nbytes, 1))
        except MemoryError as error:
            raise NetspecError(f"{self.name}: {error}") from error
        return np.asarray(block)

    def staging(self, shape: Shape, dtype: str) -> Array:
        """See Device."""
        return np.empty(tuple(shape), numpy_dtype(dtype))

    def upload(self, array: Array, values: Array) -> None:
        """See Device."""
        np.copyto(array, values)
        self._states(array)[...] = 1

    def forget(self, array: Array) -> None:
        """Take what an array holds as never written: a kernel that reads it is stopped."""
        self._states(array)[...] = UNINITIALISED

    def unwritten(self, array: Array) -> Any:
        """Which elements of an array nobody has written."""
        return (self._states(array) == UNINITIALISED).any(axis=-1)

    def bind(self, passes: Sequence[Pass], arrays: Arrays, queue: Queue = "compute") -> Call:
        """See Device."""
        calls = [self._launch(one, arrays) for one in passes]

        def call() -> None:
            for one in calls:
                one()

        return call

    def copier(self, target: Array, source: Array, source_device: Device | None, queue: Lane) -> Call:
        """See Device; what was never written stays so in the copy."""

        def call() -> None:
            np.copyto(target, source)
            if self._owns(target):
                self._states(target)[...] = self._states(source) if self._owns(source) else 1

        return call

    def execute(
        self,
        kernel: Callable[..., Any],
        dtype: str,
        epilogue: Any,
        grid: Any,
        threads: Any,
        args: Sequence[Any],
        shared: int = 0,
    ) -> None:
        """Compile a kernel for these arguments, unless that is done, and run it with ``shared`` dynamic bytes a block.

        Raises KernelError where it cannot be compiled, and where it does what hardware leaves undefined.
        """
        types = tuple(numba_cuda.type_of(value) for value in args)
        asked = (kernel, dtype, epilogue, types, self._target, prod(threads) if shared else 0)
        try:
            module = module_of(*asked)
            self.launches += 1
            check_order(module)
            run(module, self.memory, grid, threads, args, shared)
        except Fault as fault:
            raise kernel_error(fault, kernel, args, lambda: lines_of(*asked)) from fault

    def _launch(self, one: Pass, arrays: Arrays) -> Call:
        kernel = find_kernel(one.kernel)
        values = arguments(one, arrays, self._described)
        if one.host:
            host, ops = compile_host(kernel.function, one.dtype), CardOps(self)
            return lambda: host(ops, 0, one.extent, *values)
        epilogue = epilogue_of([(tail.kernel, tail.scalars) for tail in one.then])
        how = (one.grid, one.threads, values, one.shared)
        return lambda: self.execute(kernel.function, one.dtype, epilogue, *how)

    def _described(self, one: TensorMap, array: Array) -> Array:
        held: Array = tensor_maps.put(self, one, array, _encoded)
        return held

    def _owns(self, array: Array) -> bool:
        main = self.memory.main
        return main.base <= array.ctypes.data < main.base + main.nbytes

    def _states(self, array: Array) -> Array:
        """The states of an array's bytes, an axis more than the array."""
        main = self.memory.main
        start = array.ctypes.data - main.base
        whole = main.state(start, main.nbytes)
        shape, strides = (*array.shape, array.itemsize), (*array.strides, 1)
        return np.lib.stride_tricks.as_strided(whole, shape, strides)


def _encoded(one: TensorMap, array: Array) -> Array:
    """The map as the emulated card has it."""
    place = (array.ctypes.data, array.itemsize, one.dims, one.strides)
    if one.im2col is None:
        return encode(*place, one.box or (), one.swizzle)
    windows = one.im2col
    corners = (windows.lower, windows.upper, windows.stride)
    return encode(*place, (windows.channels, windows.pixels), one.swizzle, *corners)


class _Block:
    """An allocation, freed with the last array in it."""

    def __init__(self, memory: Memory, nbytes: int) -> None:
        address = memory.allocate(nbytes)
        self.__array_interface__ = {"shape": (nbytes,), "typestr": "|u1", "data": (address, False), "version": 3}
        weakref.finalize(self, memory.free, address)


class CardOps(CudaOps):
    """The primitives, launched on the emulator."""

    def __init__(self, device: EmulatedCuda) -> None:
        super().__init__(0, 0)
        self._device = device

    def _launch(self, kernel: Callable[..., Any], grid: tuple[int, ...], threads: tuple[int, ...], *args: Any) -> None:
        self._device.execute(kernel, compute_dtype(args[0]), None, grid, threads, args)
