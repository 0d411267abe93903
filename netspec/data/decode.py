"""From an encoded picture to one crop of it, uint8: what exactly is done to an image, and in which order.

1. *Decode* with Pillow; the content decides the format, not the file's suffix. Of an animation, the first frame.
   Pictures of more than 100 million pixels are refused before they are decoded.
2. *Turn* it as its EXIF orientation says, that is, as every viewer shows it.
3. *Colour*: to 8-bit grey or RGB, without colour profiles, see netspec.data.colours. Grey is repeated in three
   channels; networks of one channel see ITU-R 601-2 luma.
4. *Resize* with antialiased bilinear interpolation, keeping the aspect ratio, so that the short side has ``resize``
   pixels, or more where the network's input would not fit. A JPEG of four times the wanted size or more is decoded at
   1/2, 1/4 or 1/8 scale first, which leaves at least twice the wanted size (libjpeg's scaled DCT, Pillow's ``draft``).
5. *Centre*: the central square of ``resize`` pixels, as the paper does. Crops are taken from it alone.
6. *Crop* the network's input size, at a random place or at the centre, and mirror it.

Steps 4 to 6 are one resampling of just the pixels wanted. A plain JPEG that is not to be resized is decoded by
netspec.data.jpeg, to the same bytes.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from netspec.data import jpeg
from netspec.data.colours import mend_transparency, plain_colours
from netspec.data.index.filenames import FORMATS
from netspec.data.settings import DataSpec
from netspec.data.source import BrokenImage
from netspec.errors import NetspecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_PIXELS = 100_000_000
_NEEDED = (TiffImagePlugin, WebPImagePlugin)
"""Imported for their side effect: Pillow knows these two formats only once their modules are loaded."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs of damaged files is told as their reason

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DRAFT_MARGIN = 2

Placement = Callable[[int, int], tuple[int, int]]
"""Where to crop: from the spare rows and columns of the centred square to the crop's first row and column."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The crop's height and width, its channels (1 or 3), and the short side to resize to (0: as the crop needs)."""

    height: int
    width: int
    channels: int
    resize: int = 0

    @property
    def square(self) -> tuple[int, int]:
        """Height and width of the central part that crops are taken from."""
        return max(self.resize, self.height), max(self.resize, self.width)

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing."""
        least_h, least_w = self.square
        scale = max(self.resize / min(height, width), self.height / height, self.width / width)
        return max(round(height * scale), least_h), max(round(width * scale), least_w)


def geometry_for(data: DataSpec, image_shape: Sequence[int]) -> Geometry:
    """What the spec asks for and a network input of (height, width, channels) needs; raises NetspecError."""
    if len(image_shape) != 3 or image_shape[2] not in (1, 3):
        raise NetspecError(f"images need an input of shape [height, width, 3] or [.., 1], not {list(image_shape)}")
    height, width, channels = image_shape
    if data.crop not in (None, height) or data.crop not in (None, width):
        raise NetspecError(
            f"data.crop is {data.crop}, but the network's input is {height} x {width}; set crop to that or leave it out"
        )
    return Geometry(height, width, channels, data.resize or 0)


def centre(rows: int, columns: int) -> tuple[int, int]:
    """The place of the central crop."""
    return rows // 2, columns // 2


def crop_image(
    encoded: bytes | Image.Image, geometry: Geometry, place: Placement, mirror: bool, out: NDArray[np.uint8]
) -> None:
    """Write one crop of the picture to ``out``, uint8 (height, width, channels), contiguous.

    Raises BrokenImage, with the reason, for whatever Pillow cannot decode, and MemoryError where there is none left.
    """
    if isinstance(encoded, bytes) and _crop_plain_jpeg(encoded, geometry, place, mirror, out):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which is no concern here
            _crop(encoded, geometry, place, mirror, out)
    except (BrokenImage, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything for a broken file
        raise BrokenImage(_reason(error)) from error


def _crop_plain_jpeg(
    encoded: bytes, geometry: Geometry, place: Placement, mirror: bool, out: NDArray[np.uint8]
) -> bool:
    """Write the crop of a JPEG that needs neither resizing nor Pillow; False where it is not one."""
    frame = jpeg.plain_frame(encoded)
    if frame is None or frame.components > geometry.channels:  # Pillow makes grey of colours
        return False
    size = (frame.height, frame.width)
    if geometry.scaled(*size) != size:
        return False
    pixels = jpeg.decode(encoded, frame, "GRAY" if geometry.channels == 1 else "BGR" if mirror else "RGB")
    if pixels is not None:
        cut = jpeg.cut_mirrored if mirror else jpeg.cut
        cut(pixels, *_box(geometry, place, size), out)
    return pixels is not None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _crop(
    encoded: bytes | Image.Image, geometry: Geometry, place: Placement, mirror: bool, out: NDArray[np.uint8]
) -> None:
    import numpy as np

    if isinstance(encoded, bytes):
        image, (height, width) = _open(encoded, geometry)
    else:
        image, (height, width) = plain_colours(encoded), encoded.size[::-1]
    box = _box(geometry, place, geometry.scaled(height, width))
    image = _cut(image, geometry, box, geometry.scaled(height, width))
    mode = "RGB" if geometry.channels == 3 else "L"
    image = image if image.mode in (mode, "L") else image.convert(mode)
    if mirror:  # by Pillow, since numpy copies with a negative stride byte by byte
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    out[...] = np.frombuffer(image.tobytes(), np.uint8).reshape(geometry.height, geometry.width, -1)


def _box(geometry: Geometry, place: Placement, scaled: tuple[int, int]) -> tuple[int, int]:
    """First row and column of the crop in the resized picture."""
    square = geometry.square
    row, column = place(square[0] - geometry.height, square[1] - geometry.width)
    return (scaled[0] - square[0]) // 2 + row, (scaled[1] - square[1]) // 2 + column


def _cut(image: Image.Image, geometry: Geometry, at: tuple[int, int], scaled: tuple[int, int]) -> Image.Image:
    """The crop out of the picture as it would be if it were resized to ``scaled`` (height, width)."""
    bottom, right = at[0] + geometry.height, at[1] + geometry.width
    if image.size == scaled[::-1]:
        whole = image.size == (geometry.width, geometry.height)
        return image if whole else image.crop((at[1], at[0], right, bottom))
    box = source_box(image.size, at, geometry, scaled)
    return image.resize((geometry.width, geometry.height), Image.Resampling.BILINEAR, box)


def source_box(
    size: tuple[int, int], at: tuple[int, int], geometry: Geometry, scaled: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The crop at a (row, column) of the resized picture, as (left, top, right, bottom) in one of (width, height)."""
    width, height = size
    y, x = height / scaled[0], width / scaled[1]
    bottom, right = at[0] + geometry.height, at[1] + geometry.width
    return at[1] * x, at[0] * y, min(right * x, width), min(bottom * y, height)


def _open(encoded: bytes, geometry: Geometry) -> tuple[Image.Image, tuple[int, int]]:
    """The decoded picture, 8-bit grey or RGB, upright, perhaps at reduced scale, and its full height and width."""
    if not encoded:
        raise BrokenImage("an empty file")
    image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        raise BrokenImage(f"{image.width} x {image.height} pixels; more than {MOST_PIXELS:,} are refused")
    turn = _TURNS.get(exif_turn(image))
    turned = turn is not None and turn >= Image.Transpose.ROTATE_90 and turn != Image.Transpose.ROTATE_180
    size = image.size if turned else image.size[::-1]
    if image.format == "PNG":
        mend_transparency(image)
    if image.format in ("JPEG", "MPO"):
        _draft(image, geometry, size)
    plain = plain_colours(image)
    return (plain.transpose(turn) if turn is not None else plain), size


def exif_turn(image: Image.Image) -> int:
    """The EXIF orientation of a picture that is not upright, from 2 to 8; 0 where it is."""
    orientation = image.getexif().get(_ORIENTATION, 1) if "exif" in image.info else 1
    return orientation if orientation in _TURNS else 0


def drafted(size: tuple[int, int], scaled: tuple[int, int]) -> float:
    """By how much a JPEG of (height, width) is reduced in decoding, which leaves twice the wanted size; 0: not."""
    factor = min(size[0] / scaled[0], size[1] / scaled[1]) / _DRAFT_MARGIN
    return factor if factor >= 2 else 0


def _draft(image: ImageFile.ImageFile, geometry: Geometry, size: tuple[int, int]) -> None:
    """Let libjpeg decode at a reduced scale where that still leaves twice the wanted size."""
    if factor := drafted(size, geometry.scaled(*size)):
        image.draft(image.mode, (int(image.width / factor), int(image.height / factor)))
