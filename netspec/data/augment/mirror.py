"""Horizontal reflections (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from netspec.contract.augmentation import Augmentation, Frame, View


class Mirror(Augmentation):
    """Half of the images, left to right."""

    words: ClassVar[int] = 1

    def view(self, words: Sequence[int], view: View, frame: Frame) -> View:
        """The same part, mirrored or not."""
        return view._replace(mirrored=view.mirrored != bool(words[0] >> 63))
