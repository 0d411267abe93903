"""The words of the generated pictures: ten shapes, ten colours and ten textures make a thousand classes."""

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


class Kind(NamedTuple):
    """A class: what is drawn, in which colour and with which texture."""

    name: str
    shape: int
    colour: int
    texture: int


def kinds(count: int) -> tuple[Kind, ...]:
    """The first ``count`` of the thousand, sorted by name; few classes differ in shape, colour and texture at once."""
    return tuple(sorted(_kind(number) for number in range(count)))


def _kind(number: int) -> Kind:
    hundreds, tens, ones = number // 100, number // 10 % 10, number % 10
    shape, colour, texture = ones, (3 * ones + tens) % 10, (7 * ones + 3 * tens + hundreds) % 10
    name = f"{COLOURS[colour][0]}-{TEXTURES[texture]}-{SHAPES[shape]}"
    return Kind(name, shape, colour, texture)
