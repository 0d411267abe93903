"""Renders generated pictures: a textured shape, turned and placed at random, on a soft cluttered background.

Or sequences of them, in which the shape moves.

A picture is a few affine resamplings and pastes of cached masks, so it looks alike at any size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from netspec.data.generated import masks
from netspec.data.generated.motion_classes import MotionClass
from netspec.data.generated.picture_classes import COLOURS, SHAPES, TEXTURES, PictureClass
from netspec.data.shuffle import RENDER, random_words

_CANVAS = 128
_NUMBERS = 128
_SHADOW = [round(0.5 * level) for level in range(256)]
_Colour = tuple[int, int, int]


class _Random:
    """The random numbers of one picture, in order."""

    def __init__(self, seed: int, split: int, index: int) -> None:
        self._words = iter(random_words(seed, split, index, _NUMBERS, RENDER))

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * (next(self._words) / 2**64)

    def below(self, count: int) -> int:
        return next(self._words) * count >> 64

    def muted(self) -> _Colour:
        """A colour with little colour in it, so that backgrounds do not look like classes."""
        grey = self.between(90, 185)
        red, green, blue = (round(grey + self.between(-16, 16)) for _ in range(3))
        return red, green, blue


def render(shown: PictureClass, size: int, key: tuple[int, int, int]) -> Image.Image:
    """The RGB picture of ``size`` x ``size`` pixels that belongs to (seed, split, index)."""
    random = _Random(*key)
    extent, angle = size * random.between(0.6, 0.9), math.radians(random.between(-28, 28))
    side = math.ceil(extent * 1.3)
    left, top = (round((size - side) / 2 + _shift(random, size - extent)) for _ in range(2))
    sprite = _sprite(shown, extent, angle, random)
    picture = _background(random).resize((size, size), Image.Resampling.BICUBIC)
    sprite.paste_on(picture, left, top)
    return picture


def render_motion(shown: MotionClass, size: int, key: tuple[int, int, int], frames: int) -> tuple[Image.Image, ...]:
    """The frames of ``size`` x ``size`` pixels that belong to (seed, split, index): a shape moves over a background.

    Where it leaves a picture it comes back on the other side. So any place is as likely in each frame, whatever the
    class: a single frame says nothing of it.
    """
    random = _Random(*key)
    extent, angle = size * random.between(0.4, 0.55), random.between(0, 2 * math.pi)
    left, top, step = size * random.between(0, 1), size * random.between(0, 1), size * random.between(0.08, 0.14)
    drawn = PictureClass("", *(random.below(len(some)) for some in (SHAPES, COLOURS, TEXTURES)))
    sprite = _sprite(drawn, extent, angle, random)
    background = _background(random).resize((size, size), Image.Resampling.BICUBIC)
    found = []
    for number in range(frames):
        picture = background.copy()
        x, y = (round(at + number * step * way) % size for at, way in ((left, shown.right), (top, shown.down)))
        for shifted_x, shifted_y in itertools.product((x, x - size), (y, y - size)):
            sprite.paste_on(picture, shifted_x, shifted_y)
        found.append(picture)
    return tuple(found)


def render_placed(shown: PictureClass, size: int, key: tuple[int, int, int], place: Sequence[float]) -> Image.Image:
    """The RGB picture of ``size`` x ``size`` pixels that belongs to (seed, split, index), with its shape at a place.

    ``place``: how far the shape's centre lies to the right and down from the picture's, of the way to its edge.
    """
    random = _Random(*key)
    extent, angle = size * random.between(0.3, 0.45), random.between(0, 2 * math.pi)
    sprite = _sprite(shown, extent, angle, random)
    picture = _background(random).resize((size, size), Image.Resampling.BICUBIC)
    left, top = (round((size * (1 + at) - sprite.outline.width) / 2) for at in place)
    sprite.paste_on(picture, left, top)
    return picture


class _Sprite(NamedTuple):
    """A textured shape, its outline, and how far its shadow lies to the right of it and below."""

    textured: Image.Image
    outline: Image.Image
    drop: int

    def paste_on(self, picture: Image.Image, left: int, top: int) -> None:
        picture.paste((12, 12, 18), (left + self.drop, top + self.drop), self.outline.point(_SHADOW))
        picture.paste(self.textured, (left, top), self.outline)


def _sprite(shown: PictureClass, extent: float, angle: float, random: _Random) -> _Sprite:
    side = math.ceil(extent * 1.3)
    outline = _turned(masks.shape(SHAPES[shown.shape]), extent, angle, side)
    pattern = _turned(masks.texture(TEXTURES[shown.texture]), extent, angle, side)
    bright, dark = _tones(shown, random)
    textured = Image.new("RGB", (side, side), bright)
    textured.paste(dark, (0, 0), pattern)
    return _Sprite(textured, outline, round(extent * 0.05))


def _shift(random: _Random, room: float) -> float:
    return random.between(-room / 2, room / 2)


def _tones(shown: PictureClass, random: _Random) -> tuple[_Colour, _Colour]:
    """The class's colour in this picture's light, and the darker tone of its texture."""
    light = random.between(0.85, 1.08)
    red, green, blue = (
        min(255, max(0, round(value * light + random.between(-8, 8)))) for value in COLOURS[shown.colour][1]
    )
    return (red, green, blue), (round(red * 0.36), round(green * 0.36), round(blue * 0.36))


def _background(random: _Random) -> Image.Image:
    """Four by four muted colours run into each other, with blots and strokes over them; 64 x 64, so as to be soft."""
    cells = Image.frombytes("RGB", (4, 4), bytes(level for _ in range(16) for level in random.muted()))
    picture = cells.resize((_CANVAS, _CANVAS), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(3):
        x, y, width, height = *_point(random), random.between(6, 22), random.between(6, 22)
        pen.ellipse((x - width, y - height, x + width, y + height), random.muted())
        pen.line((*_point(random), *_point(random)), random.muted(), round(random.between(2, 10)))
    return picture.reduce(2)


def _point(random: _Random) -> tuple[float, float]:
    return random.between(0, _CANVAS), random.between(0, _CANVAS)


def _turned(masks: tuple[Image.Image, ...], extent: float, angle: float, side: int) -> Image.Image:
    """The mask turned and scaled to ``extent`` pixels in a square of ``side``, from the first large enough."""
    mask = next((mask for mask in reversed(masks) if mask.width >= extent), masks[0])
    scale, middle, centre = mask.width / extent, side / 2, mask.width / 2
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    matrix = (cos, sin, centre - (cos + sin) * middle, -sin, cos, centre - (cos - sin) * middle)
    return mask.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
