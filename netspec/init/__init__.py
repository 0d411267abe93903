"""Initialisers: one file is one distribution, found by its file name."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from netspec.discover import classes_in
from netspec.init._base import Fan, Initialiser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Fan", "Initialiser", "drawing", "initial", "initialiser_types"]

_PIECE = 2**20
"""Values of a tensor that are drawn in one go."""


@functools.cache
def initialiser_types() -> Mapping[str, type[Initialiser]]:
    """All initialisers by name."""
    return classes_in(sys.modules[__name__], Initialiser)  # type: ignore[type-abstract]


def initial(
    init: Mapping[str, Any], shape: tuple[int, ...], fan_in: int, fan_out: int, key: tuple[int, str]
) -> NDArray[np.float32]:
    """The first values of a logical parameter: float32, C order, a function of the arguments alone.

    ``init`` is a checked ``{type: ..., ...}``; ``key`` is the run's seed and the parameter's name, ``layer.param``.
    A whole tensor is drawn and shards are cut from it, so that devices do not matter. For the fans see :class:`Fan`.
    """
    values, pieces = drawing(init, shape, fan_in, fan_out, key)
    for piece in pieces:
        piece()
    return values


def drawing(
    init: Mapping[str, Any], shape: tuple[int, ...], fan_in: int, fan_out: int, key: tuple[int, str]
) -> tuple[NDArray[np.float32], list[Callable[[], None]]]:
    """What ``initial`` gives, still empty, and calls that fill it piece by piece, in any order and side by side."""
    import numpy as np

    values = np.empty(shape, np.float32)
    flat, philox, fan = values.reshape(-1), _philox_key(*key), Fan(fan_in, fan_out)
    initialiser = initialiser_types()[init["type"]](init)

    def draw(number: int) -> None:
        piece = flat[number * _PIECE : (number + 1) * _PIECE]
        random = np.random.Generator(np.random.Philox(key=philox, counter=number << 192))  # a stream of its own
        piece[:] = initialiser.draw(random, piece.shape, fan)

    return values, [functools.partial(draw, number) for number in range(-(-values.size // _PIECE))]


def _philox_key(seed: int, name: str) -> int:
    """128 bits that differ for any two (seed, name)."""
    import hashlib

    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest(), "little")
