"""Portable twins of the GPU's instructions: the same results in numpy, for kernels in the simulator.

What a warp does together is done for all its threads at once, when all have come (netspec.kernels.simulated). Layouts
are those of the PTX ISA, where ``g`` is a lane's number divided by 4 and ``q`` the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Lane = Sequence[Any]
_LANES = np.arange(32)
_G, _Q = _LANES // 4, _LANES % 4


class Twin:
    """Stands for an intrinsic: called, it runs the twin of that name; its source counts in a kernel's hash."""

    def __init__(self, define: Callable[..., Any], twin: Callable[..., Any] | None = None) -> None:
        self._defn = define
        self._twin = twin or globals()[define.__name__]

    def __call__(self, *args: Any) -> Any:
        """What the instruction gives."""
        return self._twin(*args)


def elements(array: Any) -> Array:
    """The memory of a simulated array as one axis of elements."""
    plain = array if isinstance(array, np.ndarray) else array._item._ary
    flat = plain.reshape(-1)
    assert np.shares_memory(flat, plain)
    return flat


def load4(array: Any, index: int) -> tuple[Any, ...]:
    """See netspec.kernels.instructions, as for all here."""
    return load_some(array, index, 4)


def load_some(array: Any, index: int, count: int) -> tuple[Any, ...]:
    """Read neighbouring elements at once."""
    _check_aligned(index, count)
    return tuple(elements(array)[index : index + count])


def store4(array: Any, index: int, *values: Any) -> None:
    """Write four elements."""
    store_some(array, index, *values)


def store_some(array: Any, index: int, *values: Any) -> None:
    """Write neighbouring elements at once."""
    _check_aligned(index, len(values))
    elements(array)[index : index + len(values)] = values


def store_relaxed(array: Any, index: int, value: int) -> None:
    """Write an element."""
    elements(array)[index] = value


def rsqrt(value: Any) -> Any:
    """1 / sqrt(value), NaN below zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.float32(1) / np.sqrt(np.float32(value))


def quotient(i: int, n: int) -> int:
    """Whole numbers divided; compiled there is no check of their range."""
    if not (0 <= i < 2**32 and 0 < n < 2**32):
        raise ValueError(f"{i} // {n} is not for 32 bits")
    return int(i) // int(n)


def scaled(i: int, factor: int, shift: int) -> Any:
    """A product's upper part."""
    if not (0 <= i < 2**32 and 0 <= factor < 2**32 and 0 <= shift < 64):
        raise ValueError(f"{i} * {factor} >> {shift} is not for 32 bits")
    return np.int32(int(i) * int(factor) >> int(shift))


def opaque(value: int) -> int:
    """The number itself."""
    return value


def _check_aligned(index: int, count: int) -> None:
    if index % count:
        raise ValueError(f"element {index} is not at a multiple of {4 * count} bytes")


def in_warp(value: Any, exchange: Callable[[Sequence[Any]], Sequence[Any]]) -> Any:
    """What ``exchange`` makes of the values of all threads of the warp, for the one that calls."""
    from netspec.kernels.simulated import in_warp

    return in_warp(value, exchange)


def shuffle_xor(value: Any, lanes: int) -> Any:
    """The value of another lane."""
    return in_warp(value, lambda all_values: [all_values[lane ^ lanes] for lane in range(32)])


def shuffle_down(value: Any, lanes: int) -> Any:
    """The value of a lane further on."""
    return in_warp(value, lambda given: [given[lane + lanes if lane + lanes < 32 else lane] for lane in range(32)])


def shuffle_up(value: Any, lanes: int) -> Any:
    """The value of a lane before."""
    return in_warp(value, lambda given: [given[lane - lanes if lane >= lanes else lane] for lane in range(32)])


def _cp_async(target: Any, place: int, source: Any, index: int, count: int, size: int) -> None:
    count = size * int(count) if isinstance(count, bool | np.bool_) else count
    if not 0 <= count <= size:
        raise ValueError(f"{count} elements cannot be copied into {size}")
    _check_aligned(place, size)
    memory = elements(target)
    memory[place : place + size] = 0
    if count:
        _check_aligned(index, size)
        origin = elements(source)
        if index < 0 or index + count > origin.size:
            raise IndexError(f"elements {index} to {index + count} of an array of {origin.size}")
        memory[place : place + count] = origin[index : index + count]


def cp_async4(target: Any, place: int, source: Any, index: int, count: int) -> None:
    """Copy up to one element."""
    _cp_async(target, place, source, index, count, 1)


def cp_async8(target: Any, place: int, source: Any, index: int, count: int) -> None:
    """Copy up to two elements."""
    _cp_async(target, place, source, index, count, 2)


def cp_async16(target: Any, place: int, source: Any, index: int, count: int) -> None:
    """Copy up to four elements."""
    _cp_async(target, place, source, index, count, 4)


def cp_async_commit() -> None:
    """Copies of the simulator are made at once."""


def cp_async_wait(pending: int) -> None:
    """There is nothing to wait for."""


def to_tf32(value: Any) -> Any:
    """Bits of a float32 rounded to 10 bits of mantissa."""
    return tf32_bits(np.float32(value))[()]


def tf32_bits(values: Any) -> Array:
    """Bits of float32 numbers rounded to 10 bits of mantissa, ties away from zero; NaN stays NaN."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(values), rounded, bits & np.uint32(0xFFFFE000) | np.isnan(values) * np.uint32(0x400000))


def to_bf16x2(low: Any, high: Any) -> Any:
    """Bits of two float32 rounded to bfloat16."""
    pair = bf16_bits(np.array([low, high], np.float32)).astype(np.uint32)
    return pair[0] | pair[1] << np.uint32(16)


def bf16_bits(values: Any) -> Array:
    """Bits of float32 numbers rounded to bfloat16, ties to even; NaN stays NaN."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    return np.where(np.isnan(values), np.uint32(0x7FFF0000), rounded) >> np.uint32(16)


def by_register(lanes: Sequence[Lane], part: int) -> list[Array]:
    """One tuple of all lanes, each of its registers as an array of the lanes' values."""
    return [np.array(values) for values in zip(*(lane[part] for lane in lanes), strict=True)]


def mma_tf32(a: Lane, b: Lane, c: Lane) -> Any:
    """One product of a warp."""
    return in_warp((a, b, c), lambda lanes: _in_lanes(_mma_tf32, lanes))


def mma_bf16(a: Lane, b: Lane, c: Lane) -> Any:
    """One product of a warp."""
    return in_warp((a, b, c), lambda lanes: _in_lanes(_mma_bf16, lanes))


def warp_operations(precision: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A precision's conversion and product, on registers of a whole warp: arrays of 32."""
    return (tf32_bits, _mma_tf32) if precision == "tf32" else (_pack_bf16, _mma_bf16)


def _in_lanes(product: Callable[..., list[Array]], lanes: Sequence[Lane]) -> Sequence[Any]:
    return list(zip(*product(*(by_register(lanes, part) for part in range(3))), strict=True))


def _pack_bf16(low: Array, high: Array) -> Array:
    packed: Array = bf16_bits(low) | bf16_bits(high) << np.uint32(16)
    return packed


def _mma_tf32(a: Sequence[Array], b: Sequence[Array], c: Sequence[Array]) -> list[Array]:
    left, right = np.empty((16, 8), np.uint32), np.empty((8, 8), np.uint32)
    for number in range(4):
        left[_G + 8 * (number % 2), _Q + 4 * (number // 2)] = a[number]
    for number in range(2):
        right[_Q + 4 * number, _G] = b[number]
    return _added(left, right, c)


def _mma_bf16(a: Sequence[Array], b: Sequence[Array], c: Sequence[Array]) -> list[Array]:
    left, right = np.empty((16, 16), np.uint32), np.empty((16, 8), np.uint32)
    for half in range(2):  # the low half of a register first; a bfloat16 is the upper half of a float32
        for number in range(4):
            word = a[number] >> np.uint32(16 * half) << np.uint32(16)
            left[_G + 8 * (number % 2), 2 * _Q + 8 * (number // 2) + half] = word
        for number in range(2):
            right[2 * _Q + 8 * number + half, _G] = b[number] >> np.uint32(16 * half) << np.uint32(16)
    return _added(left, right, c)


def _added(left: Array, right: Array, c: Sequence[Array]) -> list[Array]:
    """Each lane's four sums: rows g and g + 8, columns 2 q and 2 q + 1."""
    product = left.view(np.float32) @ right.view(np.float32)
    places = [(_G + 8 * (number // 2), 2 * _Q + number % 2) for number in range(4)]
    return [np.asarray(before, np.float32) + product[place] for before, place in zip(c, places, strict=True)]


def ldmatrix(array: Any, index: int) -> Any:
    """Four matrices of a warp."""
    return in_warp((array, index), lambda lanes: _ldmatrix(lanes, False))


def matrices_as_numbers(array: Any, index: int) -> tuple[Any, ...]:
    """What ldmatrix gives, as float32 of the same bits."""
    return tuple(np.array(ldmatrix(array, index)).view(np.float32))


def ldmatrix_trans(array: Any, index: int) -> Any:
    """Four matrices of a warp, transposed."""
    return in_warp((array, index), lambda lanes: _ldmatrix(lanes, True))


def _ldmatrix(lanes: Sequence[Lane], transposed: bool) -> Sequence[Any]:
    rows = []
    for array, index in lanes:
        memory = elements(array)
        _check_aligned(index * memory.itemsize, 16)
        rows.append(memory[index : index + 16 // memory.itemsize].view(np.uint16))
    matrices = np.array(rows).reshape(4, 8, 8)
    matrices = np.ascontiguousarray(matrices.transpose(0, 2, 1) if transposed else matrices)
    words = matrices.view(np.uint32)  # (4, 8, 4): lane 4 g + q takes word q of row g
    return [tuple(words[:, lane // 4, lane % 4]) for lane in range(32)]
