"""How the generated pictures are drawn: a textured shape, turned and placed at random, on a soft cluttered background.

A picture is a few affine resamplings and pastes of ready masks, so it looks alike at any size.
"""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

from netspec.data import stencils
from netspec.data.shuffle import DRAW, draws
from netspec.data.vocabulary import COLOURS, SHAPES, TEXTURES, Kind

_CANVAS = 128
_NUMBERS = 128
_SHADOW = [round(0.5 * level) for level in range(256)]
_Colour = tuple[int, int, int]


class _Chance:
    """The random numbers of one picture, in order."""

    def __init__(self, seed: int, split: int, index: int) -> None:
        self._words = iter(draws(seed, split, index, _NUMBERS, DRAW))

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * (next(self._words) / 2**64)

    def muted(self) -> _Colour:
        """A colour with little colour in it, so that backgrounds do not look like classes."""
        grey = self.between(90, 185)
        red, green, blue = (round(grey + self.between(-16, 16)) for _ in range(3))
        return red, green, blue


def draw(kind: Kind, size: int, key: tuple[int, int, int]) -> Image.Image:
    """The RGB picture of ``size`` x ``size`` pixels that belongs to (seed, split, index)."""
    chance = _Chance(*key)
    extent, angle = size * chance.between(0.6, 0.9), math.radians(chance.between(-28, 28))
    side = math.ceil(extent * 1.3)
    outline = _turned(stencils.shape(SHAPES[kind.shape]), extent, angle, side)
    pattern = _turned(stencils.texture(TEXTURES[kind.texture]), extent, angle, side)
    left, top = (round((size - side) / 2 + _shift(chance, size - extent)) for _ in range(2))
    bright, dark = _tones(kind, chance)
    textured = Image.new("RGB", (side, side), bright)
    textured.paste(dark, (0, 0), pattern)
    picture = _background(chance).resize((size, size), Image.Resampling.BICUBIC)
    drop = round(extent * 0.05)
    picture.paste((12, 12, 18), (left + drop, top + drop), outline.point(_SHADOW))
    picture.paste(textured, (left, top), outline)
    return picture


def _shift(chance: _Chance, room: float) -> float:
    return chance.between(-room / 2, room / 2)


def _tones(kind: Kind, chance: _Chance) -> tuple[_Colour, _Colour]:
    """The class's colour in this picture's light, and the darker tone of its texture."""
    light = chance.between(0.85, 1.08)
    red, green, blue = (
        min(255, max(0, round(value * light + chance.between(-8, 8)))) for value in COLOURS[kind.colour][1]
    )
    return (red, green, blue), (round(red * 0.36), round(green * 0.36), round(blue * 0.36))


def _background(chance: _Chance) -> Image.Image:
    """Four by four muted colours run into each other, with blots and strokes over them; 64 x 64, so as to be soft."""
    cells = Image.new("RGB", (4, 4))
    for place in range(16):
        cells.putpixel((place % 4, place // 4), chance.muted())
    picture = cells.resize((_CANVAS, _CANVAS), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(3):
        x, y, width, height = *_point(chance), chance.between(6, 22), chance.between(6, 22)
        pen.ellipse((x - width, y - height, x + width, y + height), chance.muted())
        pen.line((*_point(chance), *_point(chance)), chance.muted(), round(chance.between(2, 10)))
    return picture.reduce(2)


def _point(chance: _Chance) -> tuple[float, float]:
    return chance.between(0, _CANVAS), chance.between(0, _CANVAS)


def _turned(masks: tuple[Image.Image, ...], extent: float, angle: float, side: int) -> Image.Image:
    """The mask turned and scaled to ``extent`` pixels in a square of ``side``, from the first large enough."""
    mask = next((mask for mask in reversed(masks) if mask.width >= extent), masks[0])
    scale, middle, centre = mask.width / extent, side / 2, mask.width / 2
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    matrix = (cos, sin, centre - (cos + sin) * middle, -sin, cos, centre - (cos - sin) * middle)
    return mask.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
