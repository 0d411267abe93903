"""The stand-in driver's functions about memory: allocation, and copies, which are work of streams."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_int, c_size_t, c_uint, c_void_p
from typing import Any

import numpy as np

from stand_in.cards import CONTEXT, INVALID_VALUE, OUT_OF_MEMORY, cards, function, put
from stand_in.queues import UNSUPPORTED, DriverError, Operation, Stream


@function("ps")
def cuMemAlloc(address, nbytes):
    cards.queues.unsafe("memory is allocated")
    memory = cards.memories[cards.device()]
    try:
        put(address, c_void_p, memory.allocate(nbytes))
    except MemoryError as error:
        raise DriverError(OUT_OF_MEMORY, "no room") from error


@function("p")
def cuMemFree(address):
    cards.queues.unsafe("memory is freed")
    cards.queues.finish_all()  # the driver waits too
    cards.memories[cards.where(address)].free(address)


@function("pp")
def cuMemGetInfo(free, total):
    put(free, c_size_t, cards.bytes)
    put(total, c_size_t, cards.bytes)


@function("psu")
def cuMemHostAlloc(address, nbytes, flags):
    cards.queues.unsafe("memory is pinned")
    block = (ctypes.c_uint8 * max(nbytes, 1))()
    start = ctypes.addressof(block)
    cards.hosts[start] = block
    put(address, c_void_p, start)


@function("p")
def cuMemFreeHost(address):
    cards.queues.unsafe("pinned memory is freed")
    cards.queues.finish_all()
    del cards.hosts[address]


@function("ppu")
def cuMemHostGetDevicePointer(found, address, flags):
    put(found, c_void_p, address)


@function("pip")
def cuPointerGetAttribute(data, attribute, address):
    device = cards.where(address)
    if attribute == 1:  # the context
        put(data, c_void_p, CONTEXT + (device or 0))
    elif attribute == 9:  # the card's number
        put(data, c_int, device or 0)
    elif attribute == 2:  # the kind of memory
        put(data, c_int, 1 if device is None else 2)
    else:
        raise DriverError(INVALID_VALUE, f"attribute {attribute} of a c_void_p is not known here")


def _copied(target: int, source: int, nbytes: int) -> Callable[[], None]:
    def run() -> None:
        cards.bytes_at(target, nbytes)[:] = cards.bytes_at(source, nbytes)
        cards.wrote(target, nbytes)

    return run


def _enqueue_copy(target: int, source: int, run: Callable[[], None], handle: int | None) -> None:
    stream = cards.stream(handle)
    _check_reach(stream, target, source)
    pageable = cards.is_pageable(target) or cards.is_pageable(source)
    if pageable and stream.capture is not None:
        stream.capture.valid = False
        raise DriverError(UNSUPPORTED, "a copy from or to pageable memory is captured")
    operation = cards.queues.enqueue(stream, run)
    if pageable:  # the driver returns once it has read, or has written
        cards.queues.finish(operation)


def _check_reach(stream: Stream, *addresses: int) -> None:
    """Memory of another card is within reach once its context is a peer of this one."""
    for address in addresses:
        device = cards.where(address)
        if device not in (None, stream.device) and (stream.device, device) not in cards.peers:
            raise DriverError(INVALID_VALUE, f"card {stream.device} does not reach memory of card {device}")


@function("ppsp")
def cuMemcpyAsync(target, source, nbytes, stream):
    _enqueue_copy(target, source, _copied(target, source, nbytes), stream)


@function("ppsp")
def cuMemcpyHtoDAsync(target, source, nbytes, stream):
    if cards.where(source) is not None or cards.where(target) is None:
        raise DriverError(INVALID_VALUE, "HtoD of something else")
    _enqueue_copy(target, source, _copied(target, source, nbytes), stream)


@function("ppsp")
def cuMemcpyDtoHAsync(target, source, nbytes, stream):
    if cards.where(source) is None or cards.where(target) is not None:
        raise DriverError(INVALID_VALUE, "DtoH of something else")
    _enqueue_copy(target, source, _copied(target, source, nbytes), stream)


@function("ppsp")
def cuMemcpyDtoDAsync(target, source, nbytes, stream):
    _enqueue_copy(target, source, _copied(target, source, nbytes), stream)


def _at_once(target: int, source: int, nbytes: int) -> None:
    queue = cards.queues
    queue.finish(queue.enqueue(cards.stream(0), _copied(target, source, nbytes)))


@function("pps")
def cuMemcpyHtoD(target, source, nbytes):
    _at_once(target, source, nbytes)


@function("pps")
def cuMemcpyDtoH(target, source, nbytes):
    _at_once(target, source, nbytes)


@function("pps")
def cuMemcpyDtoD(target, source, nbytes):
    _at_once(target, source, nbytes)


def _end_of(name: str) -> list[tuple[str, Any]]:
    kinds = {"X": c_size_t, "Y": c_size_t, "Type": c_uint, "Host": c_void_p, "Device": c_void_p, "Array": c_void_p}
    return [(name + part, kind) for part, kind in {**kinds, "Pitch": c_size_t}.items()]


class _Copy2D(ctypes.Structure):
    _fields_ = [*_end_of("src"), *_end_of("dst"), ("width", c_size_t), ("height", c_size_t)]


@function("pp")
def cuMemcpy2DAsync(description, stream):
    copy = _Copy2D.from_address(description)
    target = copy.dstHost if copy.dstType == 1 else copy.dstDevice
    source = copy.srcHost if copy.srcType == 1 else copy.srcDevice
    width, height, to, of = copy.width, copy.height, copy.dstPitch, copy.srcPitch
    if max(to, of) > 2**31 - 1 or width > min(to, of):
        raise DriverError(INVALID_VALUE, f"rows of {width} bytes in pitches of {to} and {of}")

    def run() -> None:
        for row in range(height):
            _copied(target + row * to, source + row * of, width)()

    _enqueue_copy(target, source, run, stream)


def _set(address: int, value: bytes, times: int, stream: int | None) -> Operation | None:
    def run() -> None:
        nbytes = len(value) * times
        cards.bytes_at(address, nbytes)[:] = np.frombuffer(value * times, np.uint8)
        cards.wrote(address, nbytes)

    return cards.queues.enqueue(cards.stream(stream), run)


@function("pusp")
def cuMemsetD8Async(address, value, times, stream):
    _set(address, bytes([value & 255]), times, stream)


@function("pus")
def cuMemsetD8(address, value, times):
    cards.queues.finish(_set(address, bytes([value & 255]), times, 0))
