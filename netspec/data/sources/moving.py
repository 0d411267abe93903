"""Sequences of frames in which a shape moves, drawn on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import integer
from netspec.data.generated.drawn_split import DrawnSplit
from netspec.data.generated.motion_classes import MOST, MotionClass, motion_classes
from netspec.data.index.listing import Listing
from netspec.data.source import Source, SplitName

if TYPE_CHECKING:
    from PIL.Image import Image


class MovingSplit(DrawnSplit[MotionClass]):
    """Sequences of as many frames as the network takes."""

    _frames = 2

    def draw(self, kind: MotionClass, size: int, key: tuple[int, int, int]) -> tuple[Image, ...]:
        """All frames."""
        from netspec.data.generated.render import render_motion

        return render_motion(kind, size, key, self._frames)

    def of_frames(self, count: int) -> MovingSplit:
        """The same sequences with so many frames."""
        return self._other(_frames=count)


class Moving(Source):
    """Sequences in which a shape of any kind moves over a background: the class is the direction of its motion.

    Shape, colour, texture, size, place and speed differ from sequence to sequence, and say nothing of the class, nor
    does any single frame. Each epoch shows the same ones. Mirrored, right is left.
    """

    type = "moving"
    sequences = True
    attrs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "classes": integer("how many directions", default=MOST, minimum=1, maximum=MOST),
        "images": integer("training sequences in an epoch", default=1280, minimum=1),
        "val_images": integer("validation sequences; 0: no validation", default=256, minimum=0),
        "size": integer("width and height in pixels; 0: as the network needs", default=0, minimum=0, maximum=4096),
    }

    @classmethod
    def counts(cls, attrs: Mapping[str, Any]) -> tuple[int, int, int]:
        """See Source."""
        return attrs["images"], attrs["val_images"], attrs["classes"]

    @classmethod
    def samples(cls, folder: Path) -> Sequence[Mapping[str, Any]]:
        """See Source."""
        return {"classes": 3, "images": 12, "val_images": 4, "size": 20}, {"images": 8, "val_images": 0}

    def __init__(self, attrs: Mapping[str, Any], seed: int) -> None:
        self.where = "moving"
        self._attrs, self._seed = attrs, seed

    def list_split(self, split: SplitName, alone: bool = False) -> Listing | None:
        """The sequences of a split, all classes in turn."""
        import numpy as np

        shown = motion_classes(self._attrs["classes"])
        images = self._attrs["images" if split == "train" else "val_images"]
        if not images:
            return None
        make = partial(MovingSplit, shown, self._seed, split, self._attrs["size"])
        numbers = np.arange(images, dtype=np.int32) % np.int32(len(shown))
        return Listing(self.where, tuple(one.name for one in shown), numbers, make)
