"""Shuffling and the random numbers of augmentation: functions of (seed, epoch, index) and of nothing else.

Each number comes from the counter-based generator Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", 2011), keyed by (seed, epoch), at a place fixed by the image's index. So it matters neither how many workers
there are nor where a run was resumed.
"""

from __future__ import annotations

import threading
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
