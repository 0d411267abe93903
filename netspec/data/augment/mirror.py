"""Horizontal reflections (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from netspec.contract.augmentation import Augmentation, Frame, View

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Mirror(Augmentation):
    """Half of the images, left to right."""

    words: ClassVar[int] = 1

    def view(self, words: Sequence[int], view: View, frame: Frame) -> View:
        """The same part, mirrored or not."""
        return view._replace(mirrored=view.mirrored != bool(words[0] >> 63))

    def place(self, words: NDArray[np.uint64], rows: Mapping[str, NDArray[np.int32]], spare: tuple[int, int]) -> None:
        """The same images."""
        rows["mirrored"][:] ^= (words[:, 0] >> 63).astype("int32")
