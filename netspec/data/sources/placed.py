"""Pictures of a shape that lies anywhere, with the place of its centre: numbers to be predicted instead of a class."""

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
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

REACH = 0.6
"""How far a shape's centre may lie from the picture's, of the way to its edge."""
_SHAPES = 10


class PlacedSplit(DrawnSplit[PictureClass]):
    """Pictures, each with the place of its shape: float32 (N, 2)."""

    def __init__(
        self,
        shown: Sequence[PictureClass],
        seed: int,
        split: SplitName,
        size: int,
        places: NDArray[np.float32],
        labels: NDArray[np.int32],
    ) -> None:
        super().__init__(shown, seed, split, size, labels)
        self._places = places

    @property
    def numbers(self) -> NDArray[np.float32]:
        """The places."""
        return self._places

    def draw(self, kind: PictureClass, size: int, key: tuple[int, int, int]) -> Image:
        """One picture."""
        from netspec.data.generated.render import render_placed

        return render_placed(kind, size, key, self._places[key[2]].tolist())


class Placed(Source):
    """Pictures in which a shape of any kind lies anywhere, with two numbers each: the place of its centre.

    The numbers are how far it lies to the right and down from the picture's centre, of the way to its edge: uniform
    from -0.6 to 0.6, so that predicting their mean errs by 0.346. Shape, colour, texture, size and angle differ from
    picture to picture and say nothing of them. Each epoch shows the same pictures. Mirrored, or cut by a random crop,
    a picture no longer has its numbers.
    """

    type = "placed"
    sequences = False
    numbers = 2
    attrs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "images": integer("training pictures in an epoch", default=1280, minimum=1),
        "val_images": integer("validation pictures; 0: no validation", default=256, minimum=0),
        "size": integer("width and height in pixels; 0: as the network needs", default=0, minimum=0, maximum=4096),
    }

    @classmethod
    def counts(cls, attrs: Mapping[str, Any]) -> tuple[int, int, int]:
        """See Source."""
        return attrs["images"], attrs["val_images"], 0

    @classmethod
    def samples(cls, folder: Path) -> Sequence[Mapping[str, Any]]:
        """See Source."""
        return {"images": 12, "val_images": 4, "size": 20}, {"images": 8, "val_images": 0}

    def __init__(self, attrs: Mapping[str, Any], seed: int) -> None:
        self.where = "placed"
        self._attrs, self._seed = attrs, seed

    def list_split(self, split: SplitName, alone: bool = False) -> Listing | None:
        """The pictures of a split."""
        import numpy as np

        from netspec.data.shuffle import PLACE, random_words

        images = self._attrs["images" if split == "train" else "val_images"]
        if not images:
            return None
        words = np.array(random_words(self._seed, split == "val", 0, 2 * images, PLACE), np.float64).reshape(-1, 2)
        places = ((words / 2**63 - 1) * REACH).astype(np.float32)
        make = partial(PlacedSplit, picture_classes(_SHAPES), self._seed, split, self._attrs["size"], places)
        return Listing(self.where, (), np.zeros(images, np.int32), make)
