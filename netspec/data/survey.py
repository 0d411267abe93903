"""A look at some images of a set: how large they are, and how many can be read at all."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netspec.data.index.filenames import FORMATS
from netspec.data.shuffle import sample
from netspec.data.source import Split

if TYPE_CHECKING:
    from netspec.data.source import Content

_LOOKED_AT = 256


@dataclass(frozen=True, slots=True)
class Survey:
    """Short sides in pixels: the least, the median and the greatest; how many images were looked at and were broken."""

    least: int
    median: int
    greatest: int
    looked_at: int
    broken: int


def survey(images: Split) -> Survey | None:
    """A look at the headers of some images, which are the same each time; None where none can be read."""
    chosen = sample(len(images), _LOOKED_AT, 0).tolist()
    sides = sorted(side for side in (_short_side(images, i) for i in chosen) if side is not None)
    if not sides:
        return None
    return Survey(sides[0], sides[len(sides) // 2], sides[-1], len(chosen), len(chosen) - len(sides))


def _short_side(images: Split, i: int) -> int | None:
    from PIL import Image

    try:
        content: Content = images.read(i)
        if not isinstance(content, bytes):
            return min((content[0] if isinstance(content, tuple) else content).size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
                return min(opened.size)
    except Exception:  # Pillow's decoders raise nearly anything for a broken file
        return None
