"""A contact sheet: images in a grid, each with a line of text under it, as a PNG file."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.ImageFont import FreeTypeFont, ImageFont

_GAP = 6
_TEXT = 11
_LEAST = 96
"""Pixels: smaller images are enlarged by a whole factor, so that they can be seen."""
_WIDEST = 1600


def contact_sheet(images: NDArray[np.uint8], captions: Sequence[str]) -> bytes:
    """The PNG of images, uint8 (N, H, W, 1 or 3), each with its caption, as many in a row as go into 1600 pixels."""
    from PIL import Image, ImageDraw, ImageFont

    count, height, width, channels = images.shape
    factor = max(1, _LEAST // min(height, width))
    cell = (width * factor + _GAP, height * factor + _TEXT + 2 * _GAP)
    columns = max(1, min(count, (_WIDEST - _GAP) // cell[0], math.ceil(math.sqrt(count * cell[1] / cell[0]))))
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * cell[0] + _GAP, rows * cell[1] + _GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    for i, (pixels, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = i % columns * cell[0] + _GAP, i // columns * cell[1] + _GAP
        picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        sheet.paste(picture.resize((width * factor, height * factor), Image.Resampling.NEAREST), (left, top))
        pen.text((left, top + height * factor + 1), _fitting(caption, font, width * factor), "black", font)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _fitting(text: str, font: FreeTypeFont | ImageFont, width: int) -> str:
    """As much of a text as goes into a width."""
    text = text.encode("latin-1", "replace").decode("latin-1")  # what a bitmap font has
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text
