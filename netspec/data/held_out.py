"""Which training images are held out for validation where a set has no validation images: ``data.split``.

The choice depends on the images' names and on a seed of its own: runs that differ in ``train.seed`` are validated with
the same images, a folder and an archive of it give the same choice, and images that are added later move few others.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from netspec.data.source import Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]

USUAL = 0.1
"""The share where a folder of one's own has no validation images and the spec says nothing."""


def held_count(images: int, share: float) -> int:
    """How many of a class's images are held out: the share, rounded, but at least one, and never all of them."""
    return min(max(1, math.floor(share * images + 0.5)), images - 1) if images and share else 0


def hold_out(images: Split, share: float, seed: int) -> tuple[Indices, Indices]:
    """The indices of the images to train with, and of those held out of each class, both in ascending order."""
    import numpy as np

    labels = images.labels
    order = np.lexsort((_keys(images, seed), labels))
    _, first, counts = np.unique(labels[order], return_index=True, return_counts=True)
    wanted = [held_count(count, share) for count in counts.tolist()]
    places = [order[start : start + count] for start, count in zip(first.tolist(), wanted, strict=True)]
    held = np.zeros(len(images), bool)
    held[np.concatenate(places)] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def _keys(images: Split, seed: int) -> NDArray[np.uint64]:
    """A number for each image's path below the folder that all lie in."""
    import numpy as np

    names = [images.name(i) for i in range(len(images))]
    around = len(_enclosing(names))
    texts = (_encoded(f"{seed} {name[around:]}") for name in names)
    digests = (hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(digests), np.uint64)


def _enclosing(names: Sequence[str]) -> str:
    """The folder that all files lie in, with a slash behind it: an archive may have more folders around them."""
    first, last = min(names), max(names)
    common = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("/", 0, common) + 1]


def _encoded(text: str) -> bytes:
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")

