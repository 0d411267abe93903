"""Sequences of frames: which frames of an animation a network sees, and how each becomes pixels.

All frames of one are cut alike. An animation (GIF, PNG, WebP, pages of a TIFF) may have more frames than the network
takes: then it gets some at even distances, the first and the last among them.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from netspec.data.decode import MOST_PIXELS, show_all
from netspec.data.geometry import Choice, Geometry
from netspec.data.index.filenames import FORMATS
from netspec.data.source import BrokenImage
from netspec.units import many

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from netspec.data.source import Content


def show_content(content: Content, geometry: Geometry, choices: Sequence[Choice], out: NDArray[np.uint8]) -> None:
    """Write chosen parts to ``out``, uint8 (parts, H, W, C), or of a sequence (parts, F, H, W, C); see ``show_all``.

    Raises BrokenImage too where there are fewer frames than F.
    """
    if out.ndim == 5:
        for number, picture in enumerate(_frames(content, out.shape[1])):
            show_all(picture, geometry, choices, out[:, number])
    else:
        show_all(still(content), geometry, choices, out)


def still(content: Content) -> Image.Image | bytes:
    """What stands for it as a single picture: the middle frame of a sequence."""
    return content[len(content) // 2] if isinstance(content, tuple) else content


def spread(total: int, count: int) -> list[int]:
    """``count`` of ``total`` frames, numbered from 0, at even distances. Raises BrokenImage where there are too few."""
    if total < count:
        raise BrokenImage(f"{many(total, 'frame')}, where the network takes {count}")
    gaps = max(count - 1, 1)
    return [(2 * i * (total - 1) + gaps) // (2 * gaps) for i in range(count)]


def _frames(content: Content, count: int) -> Iterator[Image.Image]:
    if isinstance(content, tuple):
        yield from (content[number] for number in spread(len(content), count))
        return
    image = _opened(content) if isinstance(content, bytes) else content
    for number in spread(getattr(image, "n_frames", 1), count):
        yield _at(image, number)


def _opened(encoded: bytes) -> Image.Image:
    if not encoded:
        raise BrokenImage("an empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:  # as in netspec.data.decode
        raise BrokenImage(f"not an animation in a known format: {type(error).__name__}") from error
    if image.width * image.height > MOST_PIXELS:
        raise BrokenImage(f"{image.width} x {image.height} pixels; more than {MOST_PIXELS:,} are refused")
    return image


def _at(image: Image.Image, number: int) -> Image.Image:
    """A frame, decoded, in a picture of its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.seek(number)
            return image.copy()
    except MemoryError:
        raise
    except Exception as error:
        raise BrokenImage(f"frame {number} cannot be read: {type(error).__name__}: {error}") from error
