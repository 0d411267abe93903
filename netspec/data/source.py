"""The contract of a data source, and of the splits that it gives: lists of images that can be pickled.

A source is one file in ``netspec/data/sources/``. A split opens its images only when they are read, so that it is cheap
to send to the processes that decode. Neither numpy nor PIL is imported before that.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from netspec.errors import NetspecError
from netspec.machine.regular_files import NotRegularError, open_regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from netspec.data.index.listing import Listing

    Content = Image | bytes | tuple[Image, ...]

SplitName = Literal["train", "val"]

MAX_FILE_BYTES = 256 * 2**20
"""No image file larger than this is read."""


class BrokenImage(Exception):
    """An image that cannot be used; the text is the reason. The pipeline counts and skips it."""


class Kept(NamedTuple):
    """A place for statistics of a split: the file, the digest of the split, and the side of its images in pixels."""

    path: Path
    digest: str
    size: int


class ArrayKind(NamedTuple):
    """The shape of one example in an array, and the dtype."""

    shape: tuple[int, ...]
    dtype: str


class Split(ABC):
    """The images of one split of a source (training or validation), numbered from 0."""

    labels: NDArray[np.int32]
    """The class index of each image; 0 where the source has no classes."""

    where: str = "the source"
    """Where the images lie, for messages."""

    mean_images: int = 10_000
    """How many images the mean image is made of, at most."""

    arrays: Mapping[str, ArrayKind] | None = None
    """Shape of an example and dtype of each array by name, from a source that has some; None: images and labels."""

    kept: Kept | None = None
    """Where statistics of all its images are kept, from a source that has such a place."""

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    @property
    def numbers(self) -> NDArray[np.float32] | None:
        """The numbers of each image, float32 (N, K), from a source that has those in place of classes."""
        return None

    @property
    def number_count(self) -> int | None:
        """How many numbers each image has; None where it has none."""
        return None if self.numbers is None else self.numbers.shape[1]

    @abstractmethod
    def name(self, i: int) -> str:
        """The i-th image's name for people: a path that can be printed."""

    @abstractmethod
    def read(self, i: int) -> Content:
        """The i-th image: an encoded file, a PIL image or the frames of a sequence; raises BrokenImage or OSError."""

    def of_frames(self, count: int) -> Split:
        """The same sequences with so many frames, from a source that can draw any number."""
        return self

    def of_input(self, name: str) -> Split:
        """The same examples, read for that network input, from a source that has an array for each by name."""
        return self

    def values(self, name: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """The numbers of some examples for a network input, from a source that has some."""
        if self.numbers is None:
            raise NetspecError(f"{self.where}: no numbers for the input '{name}'")
        return self.numbers[indices]

    def at_size(self, pixels: int) -> Split:
        """The same images with a short side near ``pixels``, from a source that can draw them at any size."""
        return self

    def part(self, indices: NDArray[np.int64]) -> Split:
        """Some of the images as a split of their own, which pickles small where the source can make it so."""
        return Part(self, indices)


class Part(Split):
    """Some images of another split."""

    def __init__(self, split: Split, indices: NDArray[np.int64]) -> None:
        self.labels, self.where = split.labels[indices], split.where
        self.mean_images, self.arrays = split.mean_images, split.arrays
        self._split, self._indices = split, indices

    def name(self, i: int) -> str:
        """The name in the other split."""
        return self._split.name(int(self._indices[i]))

    def read(self, i: int) -> Content:
        """The image of the other split."""
        return self._split.read(int(self._indices[i]))

    @property
    def numbers(self) -> NDArray[np.float32] | None:
        """Those of the same images."""
        every = self._split.numbers
        return None if every is None else every[self._indices]

    def at_size(self, pixels: int) -> Part:
        """The same images of the split at that size."""
        return Part(self._split.at_size(pixels), self._indices)

    def of_frames(self, count: int) -> Part:
        """The same sequences of the split with so many frames."""
        return Part(self._split.of_frames(count), self._indices)

    def of_input(self, name: str) -> Part:
        """The same examples for that input."""
        return Part(self._split.of_input(name), self._indices)

    def values(self, name: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """The numbers of the same examples."""
        return self._split.values(name, self._indices[indices])


class Source(ABC):
    """Where images are: a training split, a validation split or both."""

    type: ClassVar[str]
    """The word for it in a spec: ``data: {source: {type: ...}}``."""

    attrs: ClassVar[Mapping[str, Mapping[str, Any]]]
    """The JSON Schema of each attribute; see netspec.contract.attrs."""

    named: ClassVar[bool] = False
    """Whether it has an array for each network input by name; others have images and labels."""

    sequences: ClassVar[bool | None] = None
    """Whether it has sequences of frames, or single images; None where its files decide."""

    numbers: ClassVar[int | None] = None
    """How many numbers each image has in place of a class, 0 where its files say; None: it has classes."""

    where: str
    """Where the images are, for one line on the terminal."""

    @classmethod
    def counts(cls, attrs: Mapping[str, Any]) -> tuple[int, int, int] | None:
        """Training images, validation images and classes (0: none), where the attributes alone say so."""
        return None

    def class_words(self) -> Mapping[str, str]:
        """What classes are called by people, by their names, where the source says so: ``tench, Tinca tinca``."""
        return {}

    @classmethod
    def samples(cls, folder: Path) -> Sequence[Mapping[str, Any]]:
        """Attributes of small sets for the contract suite; their files, if they need any, are written to ``folder``."""
        return ({},)

    @abstractmethod
    def __init__(self, attrs: Mapping[str, Any], seed: int) -> None:
        """Take the attributes, which are complete; nothing is read yet."""

    @abstractmethod
    def list_split(self, split: SplitName, alone: bool = False) -> Listing | None:
        """The images of a split; None where there is no validation split.

        ``alone``: nothing but this split is asked for, so a place without split folders is taken as a whole.
        Raises NetspecError where the images are not as the source needs them.
        """


def read_regular_file(path: bytes) -> bytes:
    """The content of a file; raises BrokenImage for what is not a regular file or is too large.

    Opened without blocking, since a pipe in a folder of images must not stop the training.
    """
    try:
        handle = open_regular(path)
    except NotRegularError as error:
        raise BrokenImage("not a regular file") from error
    with open(handle, "rb", buffering=0) as file:
        size = os.fstat(handle).st_size
        check_size(size)
        return file.read(size) or b""


def check_size(size: int) -> None:
    """Raise BrokenImage for a file of more bytes than are read."""
    if size > MAX_FILE_BYTES:
        raise BrokenImage(f"{size:,} bytes; files over {MAX_FILE_BYTES:,} bytes are not read")
