"""Initialisers: one file is one distribution, called as its file is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from netspec.errors import NetspecError
from netspec.init._base import Fan, Initialiser
from netspec.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Fan", "Initialiser", "initial", "initialiser_types", "pieces"]

_PIECE = 2**20
"""Values of a tensor that are drawn in one go, or a row where that has more."""


_registry = Registry("initialisers", Initialiser, __name__, "initialiser")  # type: ignore[type-abstract]


def initialiser_types() -> Mapping[str, type[Initialiser]]:
    """All initialisers by name."""
    return _registry.types()


def initial(
    init: Mapping[str, Any], shape: tuple[int, ...], fan_in: int, fan_out: int, key: tuple[int, str]
) -> NDArray[np.float32]:
    """The first values of a logical parameter: float32, C order, a function of the arguments alone.

    ``init`` is a checked ``{type: ..., ...}``; ``key`` is the run's seed and the parameter's name, ``layer.param``.
    A whole tensor is drawn and shards are cut from it, so that devices do not matter. For the fans see :class:`Fan`.
    """
    import numpy as np

    values = np.empty(shape, np.float32)
    for draw in pieces(init, shape, fan_in, fan_out, key):
        rows, drawn = draw()
        values.reshape(-1, drawn.shape[1])[rows] = drawn
    return values


def pieces(
    init: Mapping[str, Any], shape: tuple[int, ...], fan_in: int, fan_out: int, key: tuple[int, str]
) -> list[Callable[[], tuple[slice, NDArray[np.float32]]]]:
    """Calls that give what ``initial`` does piece by piece, in any order and side by side.

    Each gives rows of the tensor seen as a matrix, whose columns are its last axis: which, and their values; it raises
    NetspecError where they are not finite.
    """
    import numpy as np

    initialiser = initialiser_types()[init["type"]](init)
    columns = shape[-1] if shape else 1
    rows = prod(shape) // columns
    step = rows if initialiser.whole else max(1, _PIECE // columns)
    philox, fan = _philox_key(*key), Fan(fan_in, fan_out)

    def draw(number: int) -> tuple[slice, NDArray[np.float32]]:
        random = np.random.Generator(np.random.Philox(key=philox, counter=number << 192))  # a stream of its own
        start, stop = number * step, min((number + 1) * step, rows)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                drawn = initialiser.draw(random, shape if initialiser.whole else (stop - start, columns), fan)
        except ZeroDivisionError:
            raise NetspecError(f"{key[1]}: {init['type']} asks for a fan, and its Param says no fan_in") from None
        values = drawn.reshape(-1, columns)
        if not np.isfinite(values).all():
            raise NetspecError(f"{key[1]}: its initialiser {dict(init)} gives values beyond float32")
        return slice(start, stop), values

    return [functools.partial(draw, number) for number in range(-(-rows // step))]


def _philox_key(seed: int, name: str) -> int:
    """128 bits that differ for any two (seed, name)."""
    import hashlib

    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest(), "little")
