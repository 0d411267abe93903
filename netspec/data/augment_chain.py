"""Augmentations at work: the random numbers of each image, and what they make of it."""

from __future__ import annotations

import sys
import traceback
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netspec.contract.augmentation import PLACE, Augmentation, Frame, Mix, Tint, View
from netspec.data.augment import overrides
from netspec.data.shuffle import random_words, words_of_many
from netspec.errors import NetspecError

Words = Sequence[Sequence[int]]
"""The random numbers of an image, for each augmentation."""

_SHARED = {"crop": 0, "mirror": 2}
"""These two draw from one stream, at these places. It is lane 0; the names of others decide theirs."""


class Chain:
    """Augmentations in order. Raises NetspecError, with the place, for whatever one of them raises."""

    def __init__(self, augmentations: Mapping[str, Augmentation], seed: int) -> None:
        self._seed = seed
        self._parts = [_place(name, one.words) for name, one in augmentations.items()]
        self._lanes = {lane: max(stop for other, _, stop in self._parts if other == lane) for lane, *_ in self._parts}
        self._all = tuple(augmentations.values())
        numbered = list(enumerate(self._all))
        self._views = [(i, one) for i, one in numbered if overrides(one, "view")]
        self._pixels = [(i, one) for i, one in numbered if overrides(one, "pixels")]
        self._mixes = [(i, one) for i, one in numbered if isinstance(one, Mix)]
        self._tints = [(i, one) for i, one in numbered if isinstance(one, Tint)]

    def draw(self, epoch: int, image: int) -> Words:
        """The random numbers of an image in an epoch."""
        lanes = self._lanes.items()
        drawn = {lane: random_words(self._seed, epoch, image, count, lane=lane) for lane, count in lanes if count}
        return [drawn[lane][start:stop] if stop else () for lane, start, stop in self._parts]

    def places(
        self, epoch: int, images: NDArray[np.int64], spare: tuple[int, int], channels: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """What the augmentations make of many images in an epoch, for a device that holds these.

        A row of PLACE for each image, int32 (N, 7), and a tint's numbers, float32 (N, channels); without one (N, 0).
        Each must be such that ``netspec.data.augment.unplaced`` does not name it.
        """
        table = centred(images, spare)
        rows = dict(zip(PLACE, table.T, strict=True))
        words = self._drawn(epoch, images)
        for one, drawn in zip(self._all, words, strict=True):
            try:
                one.place(drawn, rows, spare)
            except Exception as error:
                raise _failed(one, error) from error
        numbers = [tint.numbers(drawn, channels) for i, tint in self._tints for drawn in words[i].tolist()]
        return table, np.array(numbers, np.float32).reshape(len(images), -1)

    def _drawn(self, epoch: int, images: NDArray[np.int64]) -> list[NDArray[np.uint64]]:
        """The random numbers of many images, uint64 (N, words) for each augmentation."""
        lanes = self._lanes.items()
        drawn = {lane: words_of_many(self._seed, epoch, images, count, lane) for lane, count in lanes}
        return [drawn[lane][:, start:stop] for lane, start, stop in self._parts]

    def view(self, words: Words, frame: Frame) -> View:
        """What is shown of a picture; its centre where nothing else is chosen."""
        rows, columns = frame.spare
        view = frame.at(rows // 2, columns // 2)
        for i, one in self._views:
            try:
                view = one.view(words[i], view, frame)
                _check(view, frame)
            except Exception as error:
                raise _failed(one, error) from error
        return view

    def alter(self, words: Words, row: Mapping[str, NDArray[Any]]) -> None:
        """Alter the pixels in ``row["image"]``, and write the numbers of a tint to ``row["tint"]``.

        Frames of a sequence, (F, H, W, C), are altered alike.
        """
        pictures = row["image"].reshape(-1, *row["image"].shape[-3:])
        for i, one in self._pixels:
            try:
                for picture in pictures:
                    one.pixels(words[i], picture)
            except Exception as error:
                raise _failed(one, error) from error
        for i, tint in self._tints:
            row["tint"][:] = tint.numbers(words[i], row["image"].shape[-1])

    def partner(self, words: Words, count: int) -> int:
        """The image, of so many, that is mixed into the one with these words."""
        i, one = self._mixes[0]
        try:
            found = one.partner(words[i], count)
            if not 0 <= found < count:
                raise ValueError(f"partner() gives image {found} of {count}")
        except Exception as error:
            raise _failed(one, error) from error
        return found

    def mix(self, words: Words, pixels: NDArray[Any], other: NDArray[Any]) -> float:
        """Mix the partner's pixels, altered already, into those of the image; gives its share of the label."""
        i, one = self._mixes[0]
        try:
            share = one.mix(words[i], pixels, other)
            if not 0 <= share <= 1:
                raise ValueError(f"mix() gives the other image a share of {share}")
        except Exception as error:
            raise _failed(one, error) from error
        return share


def centred(images: NDArray[np.int64], spare: tuple[int, int]) -> NDArray[np.int32]:
    """Rows of PLACE, int32 (N, 7), that show the centre of each image; see Frame.spare."""
    table = np.zeros((len(images), len(PLACE)), np.int32)
    table[:, :3] = np.stack([images, *(np.full(len(images), each // 2) for each in spare)], axis=1)
    return table


def _place(name: str, words: int) -> tuple[int, int, int]:
    """The lane that an augmentation draws from, and the range of its words there."""
    if name in _SHARED:
        return 0, _SHARED[name], _SHARED[name] + words
    return 1 + zlib.crc32(name.encode()), 0, words


def _check(view: View, frame: Frame) -> None:
    if min(view.top, view.left) < 0 or view.top + view.height > frame.height or view.left + view.width > frame.width:
        raise ValueError(f"{view} does not lie in a picture of {frame.height} x {frame.width}")
    if min(view.height, view.width) < 1:
        raise ValueError(f"{view} is empty")


def _failed(one: Augmentation, error: Exception) -> NetspecError:
    own = getattr(sys.modules.get(type(one).__module__), "__file__", None)
    lines = [place.lineno for place in traceback.extract_tb(error.__traceback__) if place.filename == own]
    where = f" at {own}:{lines[-1]}" if lines else ""
    return NetspecError(f"augmentation {type(one).__name__} fails{where}: {type(error).__name__}: {error}")
