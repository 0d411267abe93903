"""Translations with padding, as of CIFAR's images (He et al. 2016, section 4.2: 4 pixels of 32)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import choice, integer
from netspec.contract.augmentation import Augmentation, below, each_below

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Translate(Augmentation):
    """The picture moved by up to ``pixels`` up or down and left or right; what comes into view is ``fill``.

    The same as padding it by ``pixels`` on each side and taking a random crop of its former size.
    """

    words: ClassVar[int] = 2
    attrs: ClassVar[dict[str, Any]] = {
        "pixels": integer("Largest distance along each axis.", default=4, minimum=1, maximum=4096),
        "fill": choice("black", "edge", default="black", description="What stands beside the picture: 0, or its edge."),
    }
    examples: ClassVar[Sequence[dict[str, Any]]] = ({}, {"fill": "edge"}, {"pixels": 100})

    def __init__(self, attrs: Mapping[str, Any]) -> None:
        super().__init__(attrs)
        self.keeps_mean = self.settings["fill"] == "edge"

    def pixels(self, words: Sequence[int], pixels: NDArray[np.uint8]) -> None:
        """Move the picture."""
        import numpy as np

        most = self.settings["pixels"]
        moved = (below(word, 2 * most + 1) - most for word in words)
        places = [np.arange(length) + by for length, by in zip(pixels.shape, moved, strict=False)]
        rows, columns = (np.clip(at, 0, length - 1) for at, length in zip(places, pixels.shape, strict=False))
        source = pixels[rows][:, columns]
        if self.settings["fill"] == "black":
            source[rows != places[0]] = 0
            source[:, columns != places[1]] = 0
        pixels[...] = source

    def place(self, words: NDArray[np.uint64], rows: Mapping[str, NDArray[np.int32]], spare: tuple[int, int]) -> None:
        """The same distances."""
        most = self.settings["pixels"]
        for name, drawn in zip(("down", "right"), words.T, strict=True):
            rows[name][:] = each_below(drawn, 2 * most + 1) - most
        rows["edge"][:] = self.settings["fill"] == "edge"
