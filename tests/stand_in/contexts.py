"""The stand-in driver's functions about cards and their contexts."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_size_t, c_uint, c_void_p
from functools import cache

from stand_in.cards import CONTEXT, cards, function, put
from stand_in.queues import DriverError

_ALREADY_PEERS = 704
_ATTRIBUTES = {
    "MAX_THREADS_PER_BLOCK": 1024,
    "MAX_BLOCK_DIM_X": 1024,
    "MAX_BLOCK_DIM_Y": 1024,
    "MAX_BLOCK_DIM_Z": 64,
    "MAX_GRID_DIM_X": 2**31 - 1,
    "MAX_GRID_DIM_Y": 65535,
    "MAX_GRID_DIM_Z": 65535,
    "MAX_SHARED_MEMORY_PER_BLOCK": 48 << 10,
    "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 227 << 10,
    "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR": 228 << 10,
    "WARP_SIZE": 32,
    "MAX_PITCH": 2**31 - 1,
    "MAX_REGISTERS_PER_BLOCK": 65536,
    "MULTIPROCESSOR_COUNT": 132,
    "MAX_THREADS_PER_MULTIPROCESSOR": 2048,
    "L2_CACHE_SIZE": 50 << 20,
    "UNIFIED_ADDRESSING": 1,
    "COMPUTE_CAPABILITY_MAJOR": 9,
    "COMPUTE_CAPABILITY_MINOR": 0,
    "MEMORY_POOLS_SUPPORTED": 1,
}
"""What an H200 answers; nought for all else."""


def _number(name: str) -> int:
    from cuda.bindings.driver import CUdevice_attribute

    return int(CUdevice_attribute[f"CU_DEVICE_ATTRIBUTE_{name}"])


@cache
def _attributes() -> dict[int, int]:
    return {_number(name): value for name, value in _ATTRIBUTES.items()}


@function("u")
def cuInit(flags):
    pass


@function("p")
def cuDriverGetVersion(version):
    put(version, c_int, 13000)


@function("p")
def cuDeviceGetCount(found):
    put(found, c_int, len(cards.memories))


@function("pi")
def cuDeviceGet(device, ordinal):
    if not 0 <= ordinal < len(cards.memories):
        raise DriverError(101, f"there is no card {ordinal}")
    put(device, c_int, ordinal)


@function("pii")
def cuDeviceGetName(name, length, device):
    ctypes.memmove(name, b"stand-in H200\0", min(length, 14))


@function("pi")
def cuDeviceTotalMem(found, device):
    put(found, c_size_t, cards.bytes)


@function("pii")
def cuDeviceGetAttribute(value, attribute, device):
    put(value, c_int, _attributes().get(attribute, 0))


@function("pi")
def cuDeviceGetUuid(uuid, device):
    ctypes.memmove(uuid, bytes(15) + bytes([device]), 16)


@function("pii")
def cuDeviceCanAccessPeer(can, device, peer):
    put(can, c_int, int(device != peer and cards.are_peers))


@function("pi")
def cuDevicePrimaryCtxRetain(context, device):
    put(context, c_void_p, CONTEXT + device)


@function("i")
def cuDevicePrimaryCtxRelease(device):
    pass


@function("ipp")
def cuDevicePrimaryCtxGetState(device, flags, active):
    put(flags, c_uint, 0)
    put(active, c_int, 1)


@function("p")
def cuCtxPushCurrent(context):
    cards.stack().append(context - CONTEXT)


@function("p")
def cuCtxPopCurrent(context):
    put(context, c_void_p, CONTEXT + cards.device())
    cards.stack().pop()


@function("p")
def cuCtxGetCurrent(context):
    put(context, c_void_p, CONTEXT + cards.stack()[-1] if cards.stack() else 0)


@function("p")
def cuCtxSetCurrent(context):
    cards.stack()[-1:] = [context - CONTEXT] if context else []


@function("p")
def cuCtxGetDevice(device):
    put(device, c_int, cards.device())


@function("")
def cuCtxSynchronize():
    cards.queues.finish_all()


@function("pi")
def cuCtxGetLimit(value, limit):
    put(value, c_size_t, 1024)


@function("pu")
def cuCtxEnablePeerAccess(context, flags):
    pair = cards.device(), context - CONTEXT
    if pair in cards.peers:
        raise DriverError(_ALREADY_PEERS, "the peers know each other already")
    cards.peers.add(pair)


