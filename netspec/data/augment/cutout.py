"""Cutout (DeVries and Taylor 2017): a square of each image is hidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import integer
from netspec.contract.augmentation import Augmentation, below

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Cutout(Augmentation):
    """A square with its centre at any pixel, each as likely, becomes ``grey``; what hangs over the edge is cut off.

    The paper fills with 0 after the images are normalised, that is with the mean: 128 is near it.
    """

    words: ClassVar[int] = 2
    keeps_mean = False
    attrs: ClassVar[dict[str, Any]] = {
        "size": integer("Side of the square in pixels.", default=16, minimum=1, maximum=4096),
        "grey": integer("The grey level of the square.", default=128, minimum=0, maximum=255),
    }
    examples: ClassVar[Sequence[dict[str, Any]]] = ({}, {"size": 1, "grey": 0}, {"size": 100})

    def pixels(self, words: Sequence[int], pixels: NDArray[np.uint8]) -> None:
        """Hide the square."""
        size = self.settings["size"]
        top, left = (below(word, length) - size // 2 for word, length in zip(words, pixels.shape, strict=False))
        pixels[max(top, 0) : top + size, max(left, 0) : left + size] = self.settings["grey"]
