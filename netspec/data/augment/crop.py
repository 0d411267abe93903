"""Random crops (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from netspec.contract.augmentation import Augmentation, Frame, View, below


class Crop(Augmentation):
    """The network's input size at any place in the central square of ``data.resize`` pixels, each as likely."""

    group: ClassVar[str] = "cut"
    words: ClassVar[int] = 2

    def view(self, words: Sequence[int], view: View, frame: Frame) -> View:
        """The crop at a random row and column."""
        rows, columns = frame.spare
        return frame.at(below(words[0], rows + 1), below(words[1], columns + 1), view.mirrored)
