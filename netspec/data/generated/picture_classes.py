"""The classes of generated pictures: ten shapes, ten colours and ten textures make a thousand."""

from __future__ import annotations

from typing import NamedTuple

SHAPES = ("arrow", "circle", "cross", "crescent", "drop", "heart", "ring", "square", "star", "triangle")
COLOURS = (
    ("blue", (38, 84, 214)),
    ("brown", (122, 74, 38)),
    ("cyan", (42, 190, 208)),
    ("green", (44, 160, 62)),
    ("magenta", (222, 48, 160)),
    ("orange", (245, 132, 24)),
    ("purple", (116, 52, 178)),
    ("red", (216, 36, 40)),
    ("white", (244, 244, 240)),
    ("yellow", (250, 214, 40)),
)
TEXTURES = ("plain", "striped", "barred", "checked", "dotted", "ringed", "rayed", "latticed", "halved", "eyed")


class PictureClass(NamedTuple):
    """A class: what is drawn, in which colour and with which texture."""

    name: str
    shape: int
    colour: int
    texture: int


def picture_classes(count: int) -> tuple[PictureClass, ...]:
    """The first ``count`` of the thousand, sorted by name; few classes differ in shape, colour and texture at once."""
    return tuple(sorted(_numbered(number) for number in range(count)))


def _numbered(number: int) -> PictureClass:
    hundreds, tens, ones = number // 100, number // 10 % 10, number % 10
    shape, colour, texture = ones, (3 * ones + tens) % 10, (7 * ones + 3 * tens + hundreds) % 10
    name = f"{COLOURS[colour][0]}-{TEXTURES[texture]}-{SHAPES[shape]}"
    return PictureClass(name, shape, colour, texture)
