"""Random crops (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from netspec.contract.augmentation import Augmentation, Frame, View, below, each_below

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Crop(Augmentation):
    """The network's input size at any place in the central square of ``data.resize`` pixels, each as likely."""

    group: ClassVar[str] = "cut"
    words: ClassVar[int] = 2

    def view(self, words: Sequence[int], view: View, frame: Frame) -> View:
        """The crop at a random row and column."""
        rows, columns = frame.spare
        return frame.at(below(words[0], rows + 1), below(words[1], columns + 1), view.mirrored)

    def place(self, words: NDArray[np.uint64], rows: Mapping[str, NDArray[np.int32]], spare: tuple[int, int]) -> None:
        """The same places."""
        rows["top"][:], rows["left"][:] = each_below(words[:, 0], spare[0] + 1), each_below(words[:, 1], spare[1] + 1)
