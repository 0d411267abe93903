"""Shapes and textures of the generated pictures, as grey masks drawn once in a few sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_LARGE = 512
_SIZES = (256, 128, 64, 32)
_Point = tuple[float, float]
_Grid = NDArray[np.float64]
_TURN = [2 * math.pi * i / 180 for i in range(180)]


def _levels(mask: Image.Image) -> tuple[Image.Image, ...]:
    return tuple(mask.reduce(_LARGE // size) for size in _SIZES)


@cache
def shape(name: str) -> tuple[Image.Image, ...]:
    """The shape, white on black with a thin margin, from the largest size to the smallest."""
    mask = Image.new("L", (_LARGE, _LARGE))
    pen = ImageDraw.Draw(mask)
    for points, fill in _OUTLINES[name]:
        pen.polygon([((x * 0.9 + 1) * _LARGE / 2, (y * 0.9 + 1) * _LARGE / 2) for x, y in points], fill)
    return _levels(mask)


@cache
def texture(name: str) -> tuple[Image.Image, ...]:
    """White where the texture is dark, from the largest size to the smallest."""
    line = ((np.arange(_LARGE) + 0.5) / _LARGE - 0.5) * 2
    mask = _TEXTURES[name](line[None, :], line[:, None])
    full = np.broadcast_to(np.asarray(mask), (_LARGE, _LARGE)).astype(np.uint8) * np.uint8(255)
    return _levels(Image.fromarray(full))


def _circle(radius: float, x: float = 0.0, y: float = 0.0) -> list[_Point]:
    return [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in _TURN]


def _heart(t: float) -> _Point:
    height = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return math.sin(t) ** 3, -height / 15.5 - 0.12


def _star(i: int) -> _Point:
    radius = 0.5 if i % 2 else 1.08
    return radius * math.sin(math.pi * i / 5), 0.07 - radius * math.cos(math.pi * i / 5)


_OUTLINES: dict[str, list[tuple[list[_Point], int]]] = {
    "arrow": [([(-1, -0.38), (0, -0.38), (0, -0.95), (1, 0), (0, 0.95), (0, 0.38), (-1, 0.38)], 255)],
    "circle": [(_circle(0.98), 255)],
    "cross": [
        ([(-0.4, -1), (0.4, -1), (0.4, 1), (-0.4, 1)], 255),
        ([(-1, -0.4), (1, -0.4), (1, 0.4), (-1, 0.4)], 255),
    ],
    "crescent": [(_circle(1.02), 255), (_circle(0.74, 0.52, -0.22), 0)],
    "drop": [([(math.sin(t) * math.sin(t / 2) ** 1.5, -math.cos(t)) for t in _TURN], 255)],
    "heart": [([_heart(t) for t in _TURN], 255)],
    "ring": [(_circle(1.02), 255), (_circle(0.4), 0)],
    "square": [([(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)], 255)],
    "star": [([_star(i) for i in range(10)], 255)],
    "triangle": [([(0, -0.95), (1.05, 0.85), (-1.05, 0.85)], 255)],
}
"""Polygons in [-1, 1] x [-1, 1], y downwards, drawn one over the other: 255 adds, 0 cuts out."""


def _wave(x: _Grid, periods: float) -> _Grid:
    """A triangle wave from 0 to 1, with the given number of periods across the frame."""
    wave: _Grid = np.abs((x * periods / 2) % 1 - 0.5) * 2
    return wave


_TEXTURES: dict[str, Callable[[_Grid, _Grid], Any]] = {
    "barred": lambda x, y: _wave(y, 5) < 0.45,
    "checked": lambda x, y: (_wave(x, 3) < 0.5) ^ (_wave(y, 3) < 0.5),
    "dotted": lambda x, y: np.hypot(_wave(x, 4) - 1, _wave(y, 4) - 1) < 0.58,
    "eyed": lambda x, y: np.hypot(x, y) < 0.52,
    "halved": lambda x, y: x > y,
    "latticed": lambda x, y: (_wave(x + y, 2.5) < 0.25) | (_wave(x - y, 2.5) < 0.25),
    "plain": lambda x, y: np.False_,
    "rayed": lambda x, y: np.sin(9 * np.arctan2(y, x)) > 0,
    "ringed": lambda x, y: _wave(np.hypot(x, y), 5) < 0.5,
    "striped": lambda x, y: _wave(x, 5) < 0.45,
}
"""Dark or not, by place in [-1, 1] x [-1, 1]."""
