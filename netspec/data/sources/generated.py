"""The embedded source: pictures drawn on demand, so that every specification runs without any data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import integer
from netspec.data.generated.drawn_split import DrawnSplit
from netspec.data.generated.picture_classes import PictureClass, picture_classes
from netspec.data.index.listing import Listing
from netspec.data.source import Source, SplitName

if TYPE_CHECKING:
    from PIL.Image import Image


class GeneratedSplit(DrawnSplit[PictureClass]):
    """Single pictures."""

    def draw(self, kind: PictureClass, size: int, key: tuple[int, int, int]) -> Image:
        """One picture."""
        from netspec.data.generated.render import render

        return render(kind, size, key)


class Generated(Source):
    """Pictures of shapes with a colour and a texture, up to 1000 classes, drawn with Pillow from the seed.

    Position, size, angle, shade and background differ from picture to picture. Each epoch shows the same ones.
    """

    type = "generated"
    sequences = False
    attrs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "classes": integer("how many classes", default=1000, minimum=1, maximum=1000),
        "images": integer("training pictures in an epoch", default=1280, minimum=1),
        "val_images": integer("validation pictures; 0: no validation", default=256, minimum=0),
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
        self.where = "generated"
        self._attrs, self._seed = attrs, seed

    def list_split(self, split: SplitName, alone: bool = False) -> Listing | None:
        """The pictures of a split, all classes in turn."""
        import numpy as np

        shown = picture_classes(self._attrs["classes"])
        images = self._attrs["images" if split == "train" else "val_images"]
        if not images:
            return None
        make = partial(GeneratedSplit, shown, self._seed, split, self._attrs["size"])
        numbers = np.arange(images, dtype=np.int32) % np.int32(len(shown))
        return Listing(self.where, tuple(one.name for one in shown), numbers, make)
