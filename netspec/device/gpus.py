"""Enumeration of GPUs through the driver's library: cheap, and without importing numba.cuda."""

from __future__ import annotations

import ctypes
import functools
import os
from dataclasses import dataclass
from importlib.util import find_spec

from netspec.kernels.frontend import FRONTENDS, VARIABLE, is_mlir
from netspec.kernels.toolkit import finds_compiler as finds_compiler

_COMPUTE_CAPABILITY = (75, 76)
"""The driver's numbers for the attributes "major" and "minor"."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card: its name, bytes of memory and compute capability."""

    name: str
    memory: int
    capability: tuple[int, int]


@functools.cache
def gpus() -> tuple[Gpu, ...]:
    """The cards that the driver shows, in its order; none without a driver."""
    cuda = _driver()
    if cuda is None:
        return ()
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    return tuple(_describe(cuda, index) for index in range(count.value))


@functools.cache
def obstacle() -> str | None:
    """Why the cards cannot be used although they are there, in one line with the remedy; None where they can."""
    cuda = _driver()
    if cuda is None or not gpus():
        return None
    if is_mlir():
        return f"{VARIABLE}={FRONTENDS[1]} compiles kernels for the emulator and the gates only: unset it"
    extra = "cuda13" if float(driver_version() or 0) >= 13 else "cuda12"
    if find_spec("numba_cuda") is None or not finds_compiler():
        count = "a GPU" if len(gpus()) == 1 else f"{len(gpus())} GPUs"
        return f"{count} found, but not the CUDA compiler's libraries: install netspec[{extra}]"
    return None


def free_memory(index: int) -> int:
    """Bytes of a card's memory that nobody has taken; all of it where the driver does not say.

    The card's primary context, which this process is about to use, is made for it and kept.
    """
    cuda, whole = _driver(), gpus()[index].memory
    if cuda is None:
        return whole
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    if cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) or cuda.cuCtxPushCurrent_v2(context):
        return whole
    code = cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    cuda.cuCtxPopCurrent_v2(ctypes.byref(context))
    return whole if code else free.value


def driver_version() -> str | None:
    """The newest CUDA that the driver knows, such as "13.0"; None without a driver."""
    cuda = _driver()
    if cuda is None:
        return None
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def fault() -> str | None:
    """Why there are no cards although the driver's library is there; None where it starts, or is not there at all."""
    cuda = library()
    code = cuda.cuInit(0) if cuda is not None else 0
    return f"the driver's library does not start: cuInit answers {code}" if code else None


def _driver() -> ctypes.CDLL | None:
    cuda = library()
    return cuda if cuda is not None and cuda.cuInit(0) == 0 else None


def library() -> ctypes.CDLL | None:
    """The driver's library; None where there is none."""
    try:
        return ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None


def _describe(cuda: ctypes.CDLL, index: int) -> Gpu:
    handle, memory, text = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(handle), index)
    cuda.cuDeviceGetName(text, len(text), handle)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    values = []
    for attribute in _COMPUTE_CAPABILITY:
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
        values.append(value.value)
    return Gpu(text.value.decode(), memory.value, (values[0], values[1]))
