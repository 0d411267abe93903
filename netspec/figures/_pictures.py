"""Images of a set in a figure: some of them chosen, and how they look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from netspec.data.decode import crop_image
from netspec.data.frames import still
from netspec.data.geometry import centre, geometry_for
from netspec.data.source import BrokenImage, Split
from netspec.planning.trainable import only_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from netspec.data.source import Content
    from netspec.spec.types import Spec

Array = np.ndarray[Any, Any]
PIXELS = 160
"""Pictures are shown with so many pixels in width, or a little more."""


class Joined(Split):
    """The images of one split and then those of another: one pass through a network instead of two."""

    def __init__(self, first: Split, second: Split) -> None:
        self.first, self.second = first, second
        self.labels, self.where = np.concatenate([first.labels, second.labels]), first.where

    def name(self, i: int) -> str:
        """As in the split that it is of."""
        split, place = self._at(i)
        return split.name(place)

    def read(self, i: int) -> Content:
        """As in the split that it is of."""
        split, place = self._at(i)
        return split.read(place)

    def values(self, name: str, indices: Array) -> Array:
        """As in the splits that they are of."""
        later = indices >= len(self.first)
        first = self.first.values(name, indices[~later])
        found = np.empty((len(indices), *first.shape[1:]), np.float32)
        found[~later], found[later] = first, self.second.values(name, indices[later] - len(self.first))
        return found

    def at_size(self, pixels: int) -> Split:
        """As in both splits."""
        return Joined(self.first.at_size(pixels), self.second.at_size(pixels))

    def of_frames(self, count: int) -> Split:
        """As in both splits."""
        return Joined(self.first.of_frames(count), self.second.of_frames(count))

    def of_input(self, name: str) -> Split:
        """As in both splits."""
        return Joined(self.first.of_input(name), self.second.of_input(name))

    def _at(self, i: int) -> tuple[Split, int]:
        return (self.first, i) if i < len(self.first) else (self.second, i - len(self.first))


def some_of(whole: Split, count: int, seed: int) -> Split:
    """So many images, or all, drawn without replacement by a seed, in the order in which they are drawn."""
    return whole.part(np.random.default_rng(seed).permutation(len(whole))[:count])


def picture_of(content: Content, spec: Spec) -> Array:
    """The part of an image that the network sees at the centre crop, uint8 (height, width, 3), at more pixels.

    Of a sequence its middle frame, of an animation in a file the first one.

    Raises BrokenImage, OSError.
    """
    geometry = geometry_for(spec.data, spec.inputs[only_image(spec)].shape)
    more = max(1, -(-PIXELS // geometry.width))
    larger = replace(
        geometry, height=more * geometry.height, width=more * geometry.width, resize=more * geometry.resize
    )
    page = np.zeros((larger.height, larger.width, larger.channels), np.uint8)
    crop_image(still(content), larger, centre, False, page)
    return page if larger.channels == 3 else np.repeat(page, 3, axis=2)


def pictures_of(images: Split, spec: Spec) -> list[Array]:
    """How all images of a split look; one that cannot be read is grey."""
    width = spec.inputs[only_image(spec)].shape[-2]
    drawn = images.of_input(only_image(spec)).at_size(max(PIXELS, width))
    return [_or_grey(drawn, number, spec) for number in range(len(images))]


def _or_grey(images: Split, number: int, spec: Spec) -> Array:
    try:
        return picture_of(images.read(number), spec)
    except (BrokenImage, OSError):
        return np.full((PIXELS, PIXELS, 3), 128, np.uint8)


def labels_of(images: Split, classes: Sequence[str]) -> list[str]:
    """The class of each image, or the numbers that are to be predicted of it where it has none; else nothing."""
    if classes:
        return [classes[label] for label in images.labels]
    every = images.numbers
    return [""] * len(images) if every is None else [", ".join(f"{value:.2g}" for value in row) for row in every]


def show(axes: Axes, picture: Array) -> None:
    """A picture without ticks."""
    axes.imshow(picture, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_linewidth(0.4)
