"""Shuffling and the random numbers of augmentation: functions of (seed, epoch, index) and of nothing else.

Each number comes from the counter-based generator Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", 2011), keyed by (seed, epoch), at a place fixed by the image's index. So it matters neither how many workers
there are nor where a run was resumed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHUFFLE, AUGMENT, _SAMPLE, RENDER, PLACE = 1, 2, 3, 4, 5
"""The streams; each has a counter space of its own."""

_WORD = 2**64 - 1


class _Generator(threading.local):
    """This thread's generator, put in place for each image: that takes a fifth of the time of making one."""

    def __init__(self) -> None:
        self.philox = np.random.Philox(0)
        empty = {"buffer": np.zeros(4, np.uint64), "buffer_pos": 4, "has_uint32": 0, "uinteger": 0}
        self.state: Any = {"bit_generator": "Philox", **empty}


_generator = _Generator()


def _philox(seed: int, epoch: int, stream: int, index: int, lane: int = 0) -> np.random.Philox:
    """The generator at its place, until this thread asks for another."""
    key, counter = (seed & _WORD, epoch & _WORD), (0, index, stream, lane)
    _generator.state["state"] = {"counter": counter, "key": key}
    _generator.philox.state = _generator.state
    return _generator.philox


def permutation(images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The shuffled order of an epoch, int64 (images,): the argsort of as many raw 64-bit numbers."""
    return np.argsort(_philox(seed, epoch, _SHUFFLE, 0).random_raw(images), kind="stable")


def sample(images: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most ``most`` of so many images, chosen by the seed, in ascending order."""
    if images <= most:
        return np.arange(images)
    return np.sort(np.argsort(_philox(seed, 0, _SAMPLE, 0).random_raw(images), kind="stable")[:most])


def random_words(seed: int, epoch: int, index: int, count: int, stream: int = AUGMENT, lane: int = 0) -> list[int]:
    """``count`` numbers of 64 random bits that belong to an image; each ``lane`` below 2^64 has others."""
    words: list[int] = _philox(seed, epoch, stream, index, lane).random_raw(count).tolist()
    return words


def words_of_many(
    seed: int, epoch: int, images: NDArray[np.int64], count: int, lane: int = 0
) -> NDArray[np.uint64]:
    """``random_words`` of many images for their augmentation, uint64 (N, count)."""
    key = np.uint64(seed & _WORD), np.uint64(epoch & _WORD)
    found = np.empty((len(images), -(-count // 4), 4), np.uint64)
    for block in range(found.shape[1]):  # a Generator counts on before it draws
        counter = np.uint64(block + 1), images.astype(np.uint64), np.uint64(AUGMENT), np.uint64(lane)
        found[:, block] = np.stack(_philox4x64(np.broadcast_arrays(*counter), key), axis=1)
    return found.reshape(len(images), -1)[:, :count]


def _philox4x64(counter: Sequence[NDArray[np.uint64]], key: tuple[np.uint64, np.uint64]) -> list[NDArray[np.uint64]]:
    """Ten rounds on counters of four words each, as numpy's Philox does with one."""
    a, b, c, d = counter
    for number in range(10):
        first, second = (np.uint64((int(own) + number * step) & _WORD) for own, step in zip(key, _WEYL, strict=True))
        (high, low), (upper, lower) = _product(a, _FACTORS[0]), _product(c, _FACTORS[1])
        a, b, c, d = upper ^ b ^ first, lower, high ^ d ^ second, low
    return [a, b, c, d]


_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_FACTORS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)


def _product(values: NDArray[np.uint64], factor: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The upper and the lower 64 bits of products of 64-bit numbers, from those of their halves."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    low, high = values & mask, values >> half
    other_low, other_high = np.uint64(factor & 0xFFFFFFFF), np.uint64(factor >> 32)
    cross = high * other_low + (low * other_low >> half)
    middle = low * other_high + (cross & mask)
    return high * other_high + (cross >> half) + (middle >> half), values * np.uint64(factor)
