"""Crops of random area and aspect ratio, resized (Szegedy et al. 2015, section 6; torchvision's RandomResizedCrop)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from netspec.contract.attrs import number
from netspec.contract.augmentation import Augmentation, Frame, View, below, fraction

_TRIES = 10


class RandomResizedCrop(Augmentation):
    """A part of the whole picture, resized to the network's input.

    Its share of the picture's area is uniform from ``min_area`` to 1, the logarithm of its aspect ratio from
    -log(``max_ratio``) to log(``max_ratio``). Ten are tried; where none fits into the picture it is the largest part at
    the centre with an aspect ratio in those bounds.
    """

    group: ClassVar[str] = "cut"
    words: ClassVar[int] = 4 * _TRIES
    attrs: ClassVar[dict[str, Any]] = {
        "min_area": number("Least share of the picture's area.", default=0.08, above=0, maximum=1),
        "max_ratio": number("Largest ratio of width and height, either way.", default=4 / 3, minimum=1),
    }
    examples: ClassVar[Sequence[dict[str, Any]]] = ({}, {"min_area": 0.5, "max_ratio": 1.0}, {"min_area": 0.0001})

    def view(self, words: Sequence[int], view: View, frame: Frame) -> View:
        """The first of the tries that fits."""
        for first in range(0, 4 * _TRIES, 4):
            height, width = self._size(words[first], words[first + 1], frame)
            if 0 < height <= frame.height and 0 < width <= frame.width:
                top = below(words[first + 2], frame.height - height + 1)
                left = below(words[first + 3], frame.width - width + 1)
                return View(top, left, height, width, view.mirrored)
        return self._largest(frame, view.mirrored)

    def _size(self, area: int, ratio: int, frame: Frame) -> tuple[int, int]:
        """Height and width of a try."""
        least = self.settings["min_area"]
        pixels = frame.height * frame.width * (least + (1 - least) * fraction(area))
        aspect = self.settings["max_ratio"] ** (2 * fraction(ratio) - 1)
        return round(math.sqrt(pixels / aspect)), round(math.sqrt(pixels * aspect))

    def _largest(self, frame: Frame, mirrored: bool) -> View:
        ratio = self.settings["max_ratio"]
        height = max(min(frame.height, round(frame.width * ratio)), 1)
        width = max(min(frame.width, round(frame.height * ratio)), 1)
        return View((frame.height - height) // 2, (frame.width - width) // 2, height, width, mirrored)
