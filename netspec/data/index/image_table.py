"""A long list of images while a set is listed: packed class by class, at a third of what a list of tuples takes."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterator, Sequence
from typing import Any

Image = tuple[bytes, Any]
"""Path below the split, and what the tree knows the file by."""


class ImageTable(Collection[Image]):
    """Images in order, block by block; a block is unpacked when it is iterated over."""

    def __init__(self, images: Sequence[Image] = ()) -> None:
        self._blocks: list[bytes] = []
        self._count = 0
        self.add(images)

    def add(self, images: Sequence[Image]) -> None:
        """Append a block."""
        if images:
            self._blocks.append(pickle.dumps(images, pickle.HIGHEST_PROTOCOL))
            self._count += len(images)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Image]:
        for block in self._blocks:
            yield from pickle.loads(block)

    def __contains__(self, image: object) -> bool:
        return any(image == each for each in self)
