"""Pixels of any kind as 8-bit grey or RGB: docs/data.md has the table of what becomes of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from netspec.data.source import BrokenImage

if TYPE_CHECKING:
    pass

_TO_RGB = ("P", "CMYK", "YCbCr", "RGBX", "HSV", "LAB")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MIN_IS_WHITE = 258, 262, 0
_PNG_GREYS = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies greys of 2 and 4 bits by, and leaves the transparent grey without."""


def plain_colours(image: Image.Image) -> Image.Image:
    """The picture as 8-bit grey (L) or RGB. Raises BrokenImage for pixels whose range is not known."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _upper_bits(image)
    if image.has_transparency_data:
        return _over_white(image)
    if image.mode == "1":
        return image.convert("L")
    if image.mode not in _TO_RGB:
        raise BrokenImage(f"pixels of mode '{image.mode}', whose range is not known")
    return image.convert("RGB")


def mend_transparency(image: Image.Image) -> None:
    """Bring the one transparent colour of a PNG, before it is decoded, to the 8 bits of the decoded pixels."""
    value, raw = image.info.get("transparency"), _raw_mode(image)
    if isinstance(value, int) and raw in _PNG_GREYS:
        image.info["transparency"] = value * _PNG_GREYS[raw]
    elif isinstance(value, tuple) and raw.startswith("RGB;16"):
        image.info["transparency"] = tuple(level >> 8 for level in value)


def _raw_mode(image: Any) -> str:
    tiles = getattr(image, "tile", None)
    raw = tiles[0][3] if tiles else ""
    return str(raw[0] if isinstance(raw, tuple) and raw else raw)


def _over_white(image: Image.Image) -> Image.Image:
    image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _upper_bits(image: Image.Image) -> Image.Image:
    """Grey of up to 16 bits as 8; white where it has the transparent value."""
    import numpy as np

    values = np.asarray(image).astype(np.int64)
    bits, inverted = _tiff_grey(image)
    if values.min() < 0 or values.max() >= 1 << bits:
        raise BrokenImage(f"grey of more than {bits} bits, whose range is not known")
    grey = (values >> (bits - 8)).astype(np.uint8)
    if inverted:
        grey = ~grey
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey)


def _tiff_grey(image: Any) -> tuple[int, bool]:
    """Bits of a grey, and whether 0 is white; 16 and no, but where a TIFF says otherwise."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return 16, False
    bits = max(tags.get(_BITS_PER_SAMPLE, (16,)))
    if image.mode == "I" or not 8 <= bits <= 16:
        raise BrokenImage(f"grey of {bits} bits with a sign, or of over 16 bits, whose range is not known")
    return bits, tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE
