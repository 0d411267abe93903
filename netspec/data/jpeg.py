"""The fast path for plain JPEGs: libjpeg-turbo decodes into a reused buffer, to Pillow's pixels without its overhead.

Pillow has the same library decode into memory that it fetches anew for each image, and copies three times from there to
a crop in a batch. *Plain* is a file that begins as most writers begin it: a JFIF header, then tables, comments and an
8-bit frame of one or three components. Any other file, and one that the library so much as warns of, is left to Pillow:
so it is Pillow that says which files are broken, and what is made of damaged ones.
"""

from __future__ import annotations

import math
import struct
import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

try:
    import simplejpeg
except ModuleNotFoundError:  # a checkout that was not installed: Pillow then decodes them all, to the same pixels
    simplejpeg = None

MOST_PIXELS = 2**22
"""Larger pictures are left to Pillow, since the buffer is kept."""

_START = struct.Struct(">HHH5s")
_JFIF = (0xFFD8, 0xFFE0, 16, b"JFIF\0")
_SEGMENT = struct.Struct(">HH")
_FRAME = struct.Struct(">BHHB")
_FRAMES = {0xFFC0, 0xFFC1, 0xFFC2}
_HARMLESS = {0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE}
"""Huffman and quantisation tables, restart intervals, comments."""
_SCAN = 0xFFDA


class Frame(NamedTuple):
    """A plain JPEG's height and width, and its components: 1 is grey, 3 colour."""

    height: int
    width: int
    components: int


def plain_frame(encoded: bytes) -> Frame | None:
    """What the file's header says; None where it is not a plain JPEG."""
    frame, at = None, 20
    if simplejpeg is None:
        return None
    try:
        if _START.unpack_from(encoded) != _JFIF:
            return None
        while True:
            marker, length = _SEGMENT.unpack_from(encoded, at)
            if marker in _FRAMES and frame is None:
                bits, *shape = _FRAME.unpack_from(encoded, at + 4)
                frame = Frame(*shape)
                if bits != 8 or frame.components not in (1, 3) or not frame.height * frame.width:
                    return None
            elif marker not in _HARMLESS:
                return frame if marker == _SCAN else None
            at += 2 + length
    except struct.error:  # the file ends here
        return None


class _Buffer(threading.local):
    """This thread's buffer of pixels, reused."""

    def __init__(self) -> None:
        self.memory: NDArray[np.uint8] = np.empty(0, np.uint8)


_buffer = _Buffer()


def decode(encoded: bytes, frame: Frame, order: str) -> NDArray[np.uint8] | None:
    """The pixels, uint8 (height, width, channels), until this thread decodes the next file; None: Pillow is to do it.

    ``order`` is RGB, BGR, GRAY, or RGBX for four bytes a pixel.
    """
    shape = (frame.height, frame.width, 1 if order == "GRAY" else len(order))
    size = math.prod(shape)
    if frame.height * frame.width > MOST_PIXELS:
        return None
    if _buffer.memory.size < size:
        _buffer.memory = np.empty(size, np.uint8)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(encoded, order, buffer=_buffer.memory[:size], strict=True)
    except ValueError:  # a warning of the library, or a kind of JPEG that it does not take
        return None
    return pixels if pixels.shape == shape else None


def cut(pixels: NDArray[np.uint8], row: int, column: int, out: NDArray[np.uint8]) -> None:
    """Copy the part that begins at (row, column) to ``out``, uint8 (height, width, channels)."""
    out[...] = pixels[row : row + out.shape[0], column : column + out.shape[1]]


def cut_mirrored(pixels: NDArray[np.uint8], row: int, column: int, out: NDArray[np.uint8]) -> None:
    """As ``cut``, but each row's bytes from last to first: mirrored, and RGB of BGR; ``out`` is contiguous.

    As many bytes at once as a row is a multiple of, since numpy swaps the bytes of words faster than it turns an axis.
    """
    height, width, channels = out.shape
    lines = pixels.reshape(len(pixels), -1)[row : row + height, column * channels : (column + width) * channels]
    word = math.gcd(width * channels, 8)
    out.reshape(height, -1).view(f"<u{word}")[...] = lines.view(f">u{word}")[:, ::-1]
