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
6. *Crop* the network's input size, at a random place or at the centre, and mirror it; augmentations may choose another
   part of the picture, which is resized to that size.

Steps 4 to 6 are one resampling of just the pixels wanted. A plain JPEG that is not to be resized is decoded by
netspec.data.jpeg, to the same bytes. What is altered after that is in netspec.data.augment.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from netspec.contract.augmentation import Frame, View
from netspec.data import jpeg
from netspec.data.colours import mend_transparency, plain_colours
from netspec.data.geometry import Choice, Geometry, Placement
from netspec.data.index.filenames import FORMATS
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


def crop_image(
    encoded: bytes | Image.Image, geometry: Geometry, place: Placement, mirror: bool, out: NDArray[np.uint8]
) -> None:
    """Write one crop of the picture's central square to ``out``; see ``show``."""
    show(encoded, geometry, lambda frame: frame.at(*place(*frame.spare), mirror), out)


def show(encoded: bytes | Image.Image, geometry: Geometry, choose: Choice, out: NDArray[np.uint8]) -> None:
    """Write the chosen part of the picture to ``out``, uint8 (height, width, channels); see ``show_all``."""
    show_all(encoded, geometry, [choose], out[None])


def show_all(
    encoded: bytes | Image.Image, geometry: Geometry, choices: Sequence[Choice], out: NDArray[np.uint8]
) -> None:
    """Write chosen parts of the picture, decoded once for all, to ``out``, uint8 (parts, height, width, channels).

    Raises BrokenImage, with the reason, for whatever Pillow cannot decode, MemoryError where there is none left, and
    what a choice raises as NetspecError.
    """
    if isinstance(encoded, bytes) and _show_plain_jpeg(encoded, geometry, choices, out):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which is no concern here
            _show(encoded, geometry, choices, out)
    except (BrokenImage, MemoryError, NetspecError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything for a broken file
        raise BrokenImage(_reason(error)) from error


def _show_plain_jpeg(encoded: bytes, geometry: Geometry, choices: Sequence[Choice], out: NDArray[np.uint8]) -> bool:
    """Write the parts of a JPEG that needs neither resizing nor Pillow; False where it is not one.

    It is decoded once for all mirrored parts and once for all others, which costs less than to mirror them afterwards.
    """
    header = jpeg.plain_frame(encoded)
    if header is None or header.components > geometry.channels:  # Pillow makes grey of colours
        return False
    frame = geometry.frame(header.height, header.width)
    if (frame.height, frame.width) != (header.height, header.width):
        return False
    views = [choose(frame) for choose in choices]
    if any((view.height, view.width) != frame.crop for view in views):
        return False
    for mirrored in {view.mirrored for view in views}:
        pixels = jpeg.decode(encoded, header, "GRAY" if geometry.channels == 1 else "BGR" if mirrored else "RGB")
        if pixels is None:
            return False
        cut = jpeg.cut_mirrored if mirrored else jpeg.cut
        for view, row in zip(views, out, strict=True):
            if view.mirrored == mirrored:
                cut(pixels, view.top, view.left, row)
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _show(
    encoded: bytes | Image.Image, geometry: Geometry, choices: Sequence[Choice], out: NDArray[np.uint8]
) -> None:
    import numpy as np

    if isinstance(encoded, bytes):
        image, frame, views = _open(encoded, geometry, choices)
    else:
        image, frame = plain_colours(encoded), geometry.frame(encoded.height, encoded.width)
        views = [choose(frame) for choose in choices]
    mode = "RGB" if geometry.channels == 3 else "L"
    cuts: dict[View, Image.Image] = {}
    for view, row in zip(views, out, strict=True):
        upright = view._replace(mirrored=False)
        if upright not in cuts:
            made = _cut(image, view, frame)
            cuts[upright] = made if made.mode in (mode, "L") else made.convert(mode)
        # Mirrored by Pillow, since numpy copies with a negative stride byte by byte.
        cut = cuts[upright].transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view.mirrored else cuts[upright]
        row[...] = np.frombuffer(cut.tobytes(), np.uint8).reshape(geometry.height, geometry.width, -1)


def _cut(image: Image.Image, view: View, frame: Frame) -> Image.Image:
    """The part out of the picture as it would be if it were resized to the frame."""
    top, left, bottom, right = view.top, view.left, view.top + view.height, view.left + view.width
    if image.size == (frame.width, frame.height) and (view.height, view.width) == frame.crop:
        whole = image.size == (view.width, view.height)
        return image if whole else image.crop((left, top, right, bottom))
    return image.resize(frame.crop[::-1], Image.Resampling.BILINEAR, source_box(image.size, view, frame))


def source_box(size: tuple[int, int], view: View, frame: Frame) -> tuple[float, float, float, float]:
    """A part of the resized picture as (left, top, right, bottom) in one of that (width, height)."""
    y, x = size[1] / frame.height, size[0] / frame.width
    right, bottom = (view.left + view.width) * x, (view.top + view.height) * y
    return view.left * x, view.top * y, min(right, size[0]), min(bottom, size[1])


def _open(
    encoded: bytes, geometry: Geometry, choices: Sequence[Choice]
) -> tuple[Image.Image, Frame, list[View]]:
    """The decoded picture, 8-bit grey or RGB, upright, perhaps at reduced scale, and what is to be shown of it."""
    if not encoded:
        raise BrokenImage("an empty file")
    image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        raise BrokenImage(f"{image.width} x {image.height} pixels; more than {MOST_PIXELS:,} are refused")
    turn = _TURNS.get(exif_turn(image))
    turned = turn is not None and turn >= Image.Transpose.ROTATE_90 and turn != Image.Transpose.ROTATE_180
    size = image.size if turned else image.size[::-1]
    frame = geometry.frame(*size)
    views = [choose(frame) for choose in choices]
    if image.format == "PNG":
        mend_transparency(image)
    if image.format in ("JPEG", "MPO"):
        _draft(image, size, frame, views)
    plain = plain_colours(image)
    return (plain.transpose(turn) if turn is not None else plain), frame, views


def exif_turn(image: Image.Image) -> int:
    """The EXIF orientation of a picture that is not upright, from 2 to 8; 0 where it is."""
    orientation = image.getexif().get(_ORIENTATION, 1) if "exif" in image.info else 1
    return orientation if orientation in _TURNS else 0


def drafted(size: tuple[float, float], scaled: tuple[int, int]) -> float:
    """By how much a JPEG of (height, width) is reduced in decoding, which leaves twice the wanted size; 0: not."""
    factor = min(size[0] / scaled[0], size[1] / scaled[1]) / _DRAFT_MARGIN
    return factor if factor >= 2 else 0


def _draft(image: ImageFile.ImageFile, size: tuple[int, int], frame: Frame, views: Sequence[View]) -> None:
    """Let libjpeg decode at a reduced scale where that still leaves twice the wanted size."""
    height = size[0] * min(view.height for view in views) / frame.crop[0]
    width = size[1] * min(view.width for view in views) / frame.crop[1]
    if factor := drafted((height, width), (frame.height, frame.width)):
        image.draft(image.mode, (int(image.width / factor), int(image.height / factor)))
