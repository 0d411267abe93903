"""The embedded source: pictures drawn on demand, so that every specification runs without any data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import integer
from netspec.data.generated.picture_classes import PictureClass, picture_classes
from netspec.data.index.listing import Listing
from netspec.data.source import Source, Split, SplitName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    Labels = NDArray[np.int32]

_KEPT_BYTES = 64 * 2**20
_BYTES_PER_PIXEL = 4
_USUAL_SIZE = 64


class GeneratedSplit(Split):
    """Pictures of the classes in turn; picture i shows class i modulo the number of classes."""

    mean_images = 256

    def __init__(
        self, shown: tuple[PictureClass, ...], seed: int, split: SplitName, size: int, fixed: bool, labels: Labels
    ) -> None:
        self.labels = labels
        self._shown, self._seed, self._split, self._size, self._fixed = shown, seed, split, size, fixed
        self._drawn: dict[int, Image] = {}

    def name(self, i: int) -> str:
        """The class and the picture's number."""
        return f"{self._split}/{self._class_of(i).name}/{i}"

    def read(self, i: int) -> Image:
        """Draw the i-th picture, or take it from those kept since the last epoch."""
        from netspec.data.generated.render import render

        picture = self._drawn.get(i)
        if picture is None:
            picture = render(self._class_of(i), self._size, (self._seed, self._split == "val", i))
            if len(self._drawn) * picture.width * picture.height * _BYTES_PER_PIXEL < _KEPT_BYTES:
                self._drawn[i] = picture
        return picture

    def _class_of(self, i: int) -> PictureClass:
        return self._shown[i % len(self._shown)]

    def __getstate__(self) -> dict[str, Any]:
        """Without the pictures that this process has drawn."""
        return {**self.__dict__, "_drawn": {}}

    def at_size(self, pixels: int) -> GeneratedSplit:
        """The same pictures, drawn at that size, unless the spec gives their size."""
        size = self._size if self._fixed else pixels
        return GeneratedSplit(self._shown, self._seed, self._split, size, self._fixed, self.labels)


class Generated(Source):
    """Pictures of shapes with a colour and a texture, up to 1000 classes, drawn with Pillow from the seed.

    Position, size, angle, shade and background differ from picture to picture. Each epoch shows the same ones.
    """

    type = "generated"
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
        size = self._attrs["size"]
        make = partial(GeneratedSplit, shown, self._seed, split, size or _USUAL_SIZE, size > 0)
        numbers = np.arange(images, dtype=np.int32) % np.int32(len(shown))
        return Listing(self.where, tuple(one.name for one in shown), numbers, make)
