"""A split whose images are drawn when they are read, and kept for the next epoch as far as memory is set aside."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from netspec.data.source import Split, SplitName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    Drawn = Image | tuple[Image, ...]
    Labels = NDArray[np.int32]

_KEPT_BYTES = 64 * 2**20
_BYTES_PER_PIXEL = 4
_USUAL_SIZE = 64


class Shown(Protocol):
    """A class of drawn images."""

    @property
    def name(self) -> str:
        """What it is called."""


Kind = TypeVar("Kind", bound=Shown)


class DrawnSplit(Split, Generic[Kind]):
    """Images of the classes in turn; image i shows class i modulo the number of classes.

    ``size`` is their width and height in pixels, 0: as the network needs.
    """

    mean_images = 256

    def __init__(self, shown: Sequence[Kind], seed: int, split: SplitName, size: int, labels: Labels) -> None:
        self.labels = labels
        self._shown, self._split = shown, split
        self._size, self._fixed = size or _USUAL_SIZE, size > 0
        self._key = seed, split == "val"
        self._drawn: dict[int, Drawn] = {}
        self._bytes = 0

    @abstractmethod
    def draw(self, kind: Kind, size: int, key: tuple[int, int, int]) -> Drawn:
        """The image or the frames of that class and size that belong to (seed, split, index)."""

    def name(self, i: int) -> str:
        """The class and the image's number."""
        return f"{self._split}/{self._class_of(i).name}/{i}"

    def read(self, i: int) -> Drawn:
        """Draw the i-th image, or take it from those kept since the last epoch."""
        drawn = self._drawn.get(i)
        if drawn is None:
            drawn = self.draw(self._class_of(i), self._size, (*self._key, i))
            if self._bytes < _KEPT_BYTES:
                self._drawn[i] = drawn
                self._bytes += sum(one.width * one.height for one in _pictures(drawn)) * _BYTES_PER_PIXEL
        return drawn

    def at_size(self, pixels: int) -> Self:
        """The same images, drawn at that size, unless the spec gives their size."""
        return self if self._fixed else self._other(_size=pixels)

    def _class_of(self, i: int) -> Kind:
        return self._shown[i % len(self._shown)]

    def _other(self, **changes: Any) -> Self:
        """The same but for some attributes."""
        other = copy.copy(self)
        other.__dict__.update(changes)
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Without the images that this process has drawn; a copy begins without them too."""
        return {**self.__dict__, "_drawn": {}, "_bytes": 0}


def _pictures(drawn: Drawn) -> tuple[Image, ...]:
    return drawn if isinstance(drawn, tuple) else (drawn,)
