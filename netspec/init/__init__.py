"""Initialisers: one file is one distribution, found by its file name."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netspec.discover import classes_in
from netspec.init._base import Fan, Initialiser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Fan", "Initialiser", "initial", "initialiser_types"]


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
    import numpy as np

    random = np.random.Generator(np.random.Philox(key=_philox_key(*key)))
    return initialiser_types()[init["type"]](init).draw(random, shape, Fan(fan_in, fan_out))


def _philox_key(seed: int, name: str) -> int:
    """128 bits that differ for any two (seed, name)."""
    import hashlib

    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest(), "little")
