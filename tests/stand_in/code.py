"""The stand-in driver's functions about code: loading it, and launching kernels in the emulator."""

from __future__ import annotations

import ctypes
import traceback
from ctypes import c_int, c_size_t, c_uint, c_void_p
from typing import Any

from stand_in import images
from stand_in.cards import ILLEGAL_ADDRESS, INVALID_HANDLE, INVALID_VALUE, cards, function, put
from stand_in.queues import DriverError

NOT_FOUND, INVALID_IMAGE = 500, 200
_KERNEL_ATTRIBUTES = {0: 1024, 1: 0, 2: 0, 3: 0, 4: 64, 5: 90, 6: 90, 7: 0, 8: 49152, 9: -1}
_DYNAMIC = 8


class Library:
    """Loaded code."""

    def __init__(self, text: str) -> None:
        from netspec.emulate import Module

        self.module = Module(text)


class Kernel:
    """A kernel of loaded code."""

    def __init__(self, library: Library, name: str) -> None:
        self.library, self.name = library, name
        self.dynamic: dict[int, int] = {}
        """The most dynamic shared memory of a block, by card, where more is allowed than every kernel has."""

    def described(self) -> Any:
        """The emulator's description."""
        return self.library.module.kernels[self.name]


@function("ppppuppu")
def cuLibraryLoadData(found, code, options, values, count_of, library_options, library_values, library_count):
    cards.queues.unsafe("code is loaded")
    text = images.ptx_at(code)
    if text is None:
        raise DriverError(INVALID_IMAGE, "code of unknown origin")
    put(found, c_void_p, cards.new(Library(text)))


@function("p")
def cuLibraryUnload(handle):
    cards.forget(handle, Library)


@function("ppc")
def cuLibraryGetKernel(found, handle, name):
    known = cards.get(handle, Library)
    if name.decode() not in known.module.kernels:
        raise DriverError(NOT_FOUND, f"no kernel {name!r}")
    put(found, c_void_p, cards.new(Kernel(known, name.decode())))


@function("pp")
def cuKernelGetFunction(found, kernel):
    cards.get(kernel, Kernel)
    put(found, c_void_p, kernel)


@function("pspp")
def cuKernelGetParamInfo(kernel, index, offset, nbytes):
    parameters = cards.get(kernel, Kernel).described().parameters
    if index >= len(parameters):
        raise DriverError(INVALID_VALUE, "no such parameter")
    put(offset, c_size_t, parameters[index].offset)
    put(nbytes, c_size_t, parameters[index].size)


def _start(kernel: Kernel, grid: Any, block: Any, shared: int, handle: int | None, params: int) -> None:
    from netspec.emulate import launch

    stream, described = cards.stream(handle), kernel.described()
    too_much = shared > kernel.dynamic.get(stream.device, 48 << 10)
    if too_much or min(*grid, *block) < 1 or block[0] * block[1] * block[2] > 1024:
        raise DriverError(INVALID_VALUE, f"grid {grid}, block {block}, {shared} bytes of shared memory")
    if stream.device != cards.device():
        raise DriverError(INVALID_HANDLE, "a stream of another context")
    places = (ctypes.c_void_p * len(described.parameters)).from_address(params) if described.parameters else ()
    values = [
        ctypes.string_at(place, one.size) for place, one in zip(places, described.parameters, strict=True)
    ]
    module, memory = kernel.library.module, cards.memories[stream.device]

    def run() -> None:
        try:
            launch(module, kernel.name, grid, block, shared, values, memory)
        except Exception:
            traceback.print_exc()
            cards.sticky = ILLEGAL_ADDRESS

    cards.queues.enqueue(stream, run)


@function("puuuuuuuppp")
def cuLaunchKernel(kernel, gx, gy, gz, bx, by, bz, shared, stream, params, extra):
    _start(cards.get(kernel, Kernel), (gx, gy, gz), (bx, by, bz), shared, stream, params)


class _LaunchConfig(ctypes.Structure):
    _fields_ = [(name, c_uint) for name in ("gx", "gy", "gz", "bx", "by", "bz", "shared")] + [
        ("stream", c_void_p),
        ("attributes", c_void_p),
        ("count", c_uint),
    ]


@function("pppp")
def cuLaunchKernelEx(config, kernel, params, extra):
    how = _LaunchConfig.from_address(config)
    grid, block = (how.gx, how.gy, how.gz), (how.bx, how.by, how.bz)
    _start(cards.get(kernel, Kernel), grid, block, how.shared, how.stream, params)


@function("pipi")
def cuKernelGetAttribute(value, attribute, kernel, device):
    known = cards.get(kernel, Kernel)
    found = known.dynamic.get(device) if attribute == _DYNAMIC else None
    put(value, c_int, _KERNEL_ATTRIBUTES.get(attribute, 0) if found is None else found)


@function("iipi")
def cuKernelSetAttribute(attribute, value, kernel, device):
    if attribute != _DYNAMIC or not 0 <= value <= 227 << 10:
        raise DriverError(INVALID_VALUE, f"attribute {attribute} of a kernel cannot be {value}")
    cards.get(kernel, Kernel).dynamic[device] = value


_TEXTS: dict[int, ctypes.Array[Any]] = {}


@function("ip")
def cuGetErrorName(code, text):
    put(text, c_void_p, ctypes.addressof(_TEXTS.setdefault(code, ctypes.create_string_buffer(b"error %d" % code))))


@function("ip")
def cuGetErrorString(code, text):
    put(text, c_void_p, ctypes.addressof(_TEXTS.setdefault(code, ctypes.create_string_buffer(b"error %d" % code))))
