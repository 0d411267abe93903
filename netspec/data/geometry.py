"""What of a picture a network sees, before any is decoded: the crop's size, the size to resize to, the crop's place.

Apart from netspec.data.decode, since a run's own process leaves decoding, and the libraries for it, to its workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netspec.contract.augmentation import Frame, View
from netspec.data.settings import DataSpec
from netspec.data.source import BrokenImage
from netspec.errors import NetspecError

RESIZED = "{} x {} pixels, to be resized to {} x {}"
"""Why a picture that would be resized counts as broken, where that is asked for."""

Choice = Callable[[Frame], View]
"""What to show of a picture of that size."""
Placement = Callable[[int, int], tuple[int, int]]
"""Where to crop: from the spare rows and columns of the centred square to the crop's first row and column."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The crop's height and width, its channels (1 or 3), and the short side to resize to (0: as the crop needs).

    ``unscaled``: a picture that would be resized counts as broken.
    """

    height: int
    width: int
    channels: int
    resize: int = 0
    unscaled: bool = False

    @property
    def square(self) -> tuple[int, int]:
        """Height and width of the central part that crops are taken from."""
        return max(self.resize, self.height), max(self.resize, self.width)

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing."""
        least_h, least_w = self.square
        scale = max(self.resize / min(height, width), self.height / height, self.width / width)
        return max(round(height * scale), least_h), max(round(width * scale), least_w)

    def frame(self, height: int, width: int) -> Frame:
        """What can be shown of a picture of that height and width. Raises BrokenImage, see ``unscaled``."""
        scaled = self.scaled(height, width)
        if self.unscaled and scaled != (height, width):
            raise BrokenImage(RESIZED.format(height, width, *scaled))
        return Frame(*scaled, self.square, (self.height, self.width))


def geometry_for(data: DataSpec, image_shape: Sequence[int]) -> Geometry:
    """What the spec asks for and a network input of ([frames,] height, width, channels) needs; raises NetspecError."""
    if len(image_shape) not in (3, 4) or image_shape[-1] not in (1, 3):
        raise NetspecError(f"images need an input of shape [height, width, 3] or [.., 1], not {list(image_shape)}")
    height, width, channels = image_shape[-3:]
    if data.crop not in (None, height) or data.crop not in (None, width):
        raise NetspecError(
            f"data.crop is {data.crop}, but the network's input is {height} x {width}; set crop to that or leave it out"
        )
    return Geometry(height, width, channels, data.resize or 0)


def centre(rows: int, columns: int) -> tuple[int, int]:
    """The place of the central crop."""
    return rows // 2, columns // 2
