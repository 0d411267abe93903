"""The augmentation contract: how a training image is altered, by random numbers that belong to (seed, epoch, image).

An augmentation is one file with one class. What it draws depends on nothing but its name, the seed, the epoch and the
image, so that neither the number of workers, nor a resumption, nor another augmentation changes a bit of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from netspec.contract.attrs import Attr, check_attrs, filled

if TYPE_CHECKING:  # a spec is validated without numpy
    import numpy as np
    from numpy.typing import NDArray

_WORD_BITS = 64


PLACE = ("image", "top", "left", "mirrored", "down", "right", "edge")
"""What a device is told of each row of a batch whose images it holds: int32 each.

Which image, -1: none, a black row; the row and the column of its central square at which the crop begins, and whether
it is mirrored, 0 or 1; then by how many pixels what is shown is moved: row r shows row r + down, column c column
c + right. Beyond the picture lies black, or the nearest pixel of its edge where ``edge`` is 1.
"""


class View(NamedTuple):
    """What is shown of a picture: rows and columns of the resized picture, and whether they are mirrored.

    A part of another size than the network's input is resampled to that.
    """

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False


class Frame(NamedTuple):
    """A picture after resizing, in pixels: its size, that of its central square, and that of the network's input."""

    height: int
    width: int
    square: tuple[int, int]
    crop: tuple[int, int]

    @property
    def spare(self) -> tuple[int, int]:
        """The rows and columns by which the central square is larger than the network's input."""
        return self.square[0] - self.crop[0], self.square[1] - self.crop[1]

    def at(self, row: int, column: int, mirrored: bool = False) -> View:
        """The crop of the network's input size that begins at a row and a column of the central square."""
        top, left = (self.height - self.square[0]) // 2 + row, (self.width - self.square[1]) // 2 + column
        return View(top, left, *self.crop, mirrored)


class Augmentation:
    """One way to alter training images. It overrides ``view``, which costs nothing, or ``pixels``, or both.

    ``self.settings`` has the attributes, complete and checked. ``view`` and ``pixels`` are given ``words``, numbers of
    64 random bits: as many as the class declares, drawn anew for each image in each epoch.
    """

    type: ClassVar[str]
    attrs: ClassVar[Mapping[str, Attr]] = {}
    """The JSON Schema of each attribute; see netspec.contract.attrs."""
    words: ClassVar[int] = 0
    """How many random numbers an image takes."""
    group: ClassVar[str] = ""
    """Of those that have one group, one can be used at a time: "cut" chooses the part that is shown."""
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    """Attributes that the contract suite tries."""
    keeps_mean: bool = True
    """Whether the mean over all draws of an even picture is that picture; set in ``__init__`` where attributes say."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_attrs(cls.__name__, cls.__dict__.get("attrs", {}), reserved={})

    def __init__(self, attrs: Mapping[str, Any]) -> None:
        self.settings = filled(self.attrs, attrs)

    def view(self, words: Sequence[int], view: View, frame: Frame) -> View:
        """What is shown instead of ``view``; it must lie in the frame."""
        return view

    def pixels(self, words: Sequence[int], pixels: NDArray[np.uint8]) -> None:
        """Alter the pixels, uint8 (height, width, channels), in place."""

    def place(self, words: NDArray[np.uint64], rows: Mapping[str, NDArray[np.int32]], spare: tuple[int, int]) -> None:
        """What ``view`` and ``pixels`` do to many images, in numbers, from which a device does the same: see PLACE.

        ``words`` is uint64 (N, words), ``rows`` has columns (N,) to alter in place, ``spare`` is as in ``Frame``. An
        augmentation that overrides ``view`` or ``pixels`` and not this keeps a data set from staying on the device.
        """


class Tint(Augmentation):
    """An augmentation that adds to all pixels of an image a multiple of each principal component of the colours.

    It runs on the device, with the subtraction of the mean: workers draw ``numbers``, of which ``tint`` makes what
    ``prepare`` reads: see netspec.ops.prepare.
    """

    group = "colour"

    def numbers(self, words: Sequence[int], channels: int) -> Sequence[float]:
        """A number for each component."""
        raise NotImplementedError

    def tint(self, numbers: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
        """What becomes of a batch's ``numbers`` (N, C): float32 (N, 1 + C), an image's gain minus 1, then its factors.

        ``strength`` from 0 to 1 is what a schedule leaves of it; at 0 all is 0.
        """
        raise NotImplementedError

    def components(self, eigenvalues: NDArray[np.float64], eigenvectors: NDArray[np.float64]) -> NDArray[np.float32]:
        """What the factors multiply, float32 (C, C), a component in each column, in grey levels from 0 to 255.

        ``eigenvalues`` (C,) of the covariance of the channels descend, ``eigenvectors`` (C, C) lie in columns.
        """
        raise NotImplementedError


MIXED: Mapping[str, str] = {"other": "int32", "share": "float32"}
"""What a cost layer reads beside the label of images that are mixed, by name, with the dtype; see Layer.mixed."""


class Mix(Augmentation):
    """An augmentation that mixes each image with another one of the training images, and their labels alike.

    The other one is shown as it is in the epoch itself, cut, mirrored and altered by its own random numbers; what runs
    on the device comes after. Cost layers get its label as ``other`` and its share of the label as ``share``.
    """

    group = "mix"

    def partner(self, words: Sequence[int], count: int) -> int:
        """The number of the other image, of ``count``: each as likely, from the first word."""
        return below(words[0], count)

    def mix(self, words: Sequence[int], pixels: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
        """Alter the pixels, uint8 (..., height, width, channels), in place by those of the ``other``.

        Gives the other image's share of the label, from 0 to 1, which depends on the words and the shape alone.
        """
        raise NotImplementedError


def below(word: int, count: int) -> int:
    """Map 64 random bits to 0 ... count - 1."""
    return word * count >> _WORD_BITS


def each_below(words: NDArray[np.uint64], count: int) -> NDArray[np.int32]:
    """``below`` of many words, for a count below 2^31: int32 of their shape."""
    half = _WORD_BITS // 2
    low, high = words & 0xFFFFFFFF, words >> half  # their products with the count have less than 64 bits
    return ((high * count + (low * count >> half)) >> half).astype("int32")


def fraction(word: int) -> float:
    """Map 64 random bits to [0, 1)."""
    return (word >> 11) * 2.0**-53


def normals(words: Sequence[int]) -> list[float]:
    """As many standard normal numbers as there are words, an even number (Box and Muller 1958)."""
    found = []
    for one, other in zip(words[::2], words[1::2], strict=True):
        radius, angle = math.sqrt(-2.0 * math.log(1.0 - fraction(one))), 2.0 * math.pi * fraction(other)
        found += [radius * math.cos(angle), radius * math.sin(angle)]
    return found
