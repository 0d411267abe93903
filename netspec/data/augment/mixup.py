"""Mixup (Zhang et al. 2018): each image is mixed with another one, and its label likewise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import number
from netspec.contract.augmentation import Mix, fraction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Mixup(Mix):
    """x = (1 - s) x_i + s x_j, and the loss is (1 - s) times that of label i plus s times that of label j.

    The partner j is drawn from all training images, and s is the smaller of b and 1 - b, where b has the distribution
    Beta(``alpha``, ``alpha``), for each image in each epoch. Which of two images is the partner makes no difference to
    the loss, as both are drawn alike; so the label that errors are counted against is that of the image that shows
    more, as in fastai. Pixels are rounded. The paper takes an ``alpha`` of 0.1 to 0.4 for ImageNet and 1, with which
    all shares are as likely, for CIFAR-10; it mixes a batch with itself in another order and has one share a batch.
    """

    words: ClassVar[int] = 3
    attrs: ClassVar[dict[str, Any]] = {
        "alpha": number("Of Beta(alpha, alpha): the smaller, the less is mixed.", default=0.2, above=0, maximum=100),
    }  # fmt: skip
    examples: ClassVar[Sequence[dict[str, Any]]] = ({}, {"alpha": 1.0}, {"alpha": 8.0}, {"alpha": 1e-4})

    def mix(self, words: Sequence[int], pixels: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
        """Take a share of the other's pixels."""
        import numpy as np

        drawn = symmetric_beta(self.settings["alpha"], fraction(words[1]), fraction(words[2]))
        share = np.float32(min(drawn, 1.0 - drawn))
        mixed = np.subtract(other, pixels, dtype=np.float32)
        mixed *= share
        mixed += pixels
        pixels[...] = np.rint(mixed, out=mixed)
        return float(share)


def symmetric_beta(alpha: float, u: float, v: float) -> float:
    """A number from Beta(alpha, alpha) of two uniform ones from [0, 1).

    Devroye, "Random variate generation in one line of code" (1996): Bailey's way to Student's t with 2 alpha degrees
    of freedom, of which 1/2 + t / (2 sqrt(2 alpha + t^2)) is such a number.
    """
    cosine, root = math.cos(2.0 * math.pi * v), (1.0 - u) ** (1.0 / alpha)
    square = (1.0 - root) * cosine * cosine
    half = 0.5 * math.sqrt(square / (root + square)) if square else 0.0
    return 0.5 + math.copysign(half, cosine)
