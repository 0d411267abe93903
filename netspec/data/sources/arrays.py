"""Arrays in NumPy files: one for each network input, by its name."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import path
from netspec.data.index.listing import Listing
from netspec.data.source import ArrayKind, Source, Split, SplitName
from netspec.errors import NetspecError, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from netspec.data.source import Content

SUFFIX = ".npy"


class ArraysSplit(Split):
    """Examples whose parts lie in memory-mapped files, one for each input."""

    def __init__(self, folder: Path, arrays: Mapping[str, ArrayKind], labels: NDArray[np.int32]) -> None:
        self.labels, self.arrays = labels, arrays
        self._folder, self._input = folder, ""
        self._open: dict[str, NDArray[Any]] = {}

    def name(self, i: int) -> str:
        """The folder's name and the example's number."""
        return f"{self._folder.name}/{i}"

    def read(self, i: int) -> Content:
        """The i-th image, or the frames of the i-th sequence, of the input that is read."""
        if not self._input:
            raise NetspecError(f"{self._folder}: arrays are read by the inputs of a network; this takes image files")
        pixels = self._array(self._input)[i]
        channels = pixels.shape[-1]
        if pixels.ndim == 2 or (pixels.ndim == 3 and channels in (1, 3)):
            return _picture(pixels)
        return tuple(map(_picture, pixels))

    def of_input(self, name: str) -> ArraysSplit:
        """The same examples, of which that input is read."""
        other = copy.copy(self)
        other._input = name
        return other

    def values(self, name: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some examples' numbers."""
        found = self._array(name)[indices].astype("float32")
        return found if found.ndim > 1 else found[:, None]

    def _array(self, name: str) -> NDArray[Any]:
        if name not in self._open:
            self._open[name] = _mapped(self._folder / (name + SUFFIX))
        return self._open[name]

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files."""
        return {**self.__dict__, "_open": {}}


class Arrays(Source):
    """An array for each network input: ``path/train/INPUT.npy`` and ``path/val/INPUT.npy``, as numpy.save writes them.

    The first axis counts examples. Images are uint8 (N, height, width, channels), or (N, height, width) where they are
    grey, sequences (N, frames, height, width, channels); numbers, targets among them, are float32 or float64 of the
    input's shape, or (N,) for one of [1]; an array of whole numbers (N,) has the labels, from 0. There is at most one.
    Files are mapped to memory, not read as a whole.
    """

    type = "arrays"
    named = True
    attrs: ClassVar[Mapping[str, Mapping[str, Any]]] = {"path": path("the folder that holds train/ and val/")}

    @classmethod
    def samples(cls, folder: Path) -> Sequence[Mapping[str, Any]]:
        """See Source."""
        import numpy as np

        for split, count in (("train", 8), ("val", 4)):
            (folder / split).mkdir()
            pixels = np.arange(count * 16 * 12 * 3).reshape(count, 16, 12, 3) * (7 if split == "train" else 5) % 251
            arrays: dict[str, NDArray[Any]] = {"label": np.arange(count) % 2, "more": np.ones((count, 2))}
            for name, values in {"image": pixels.astype(np.uint8), **arrays}.items():
                np.save(folder / split / (name + SUFFIX), values)
        return ({"path": str(folder)},)

    def __init__(self, attrs: Mapping[str, Any], seed: int) -> None:
        self._path = Path(attrs["path"]).expanduser().absolute()
        self.where = printable(self._path)

    def list_split(self, split: SplitName, alone: bool = False) -> Listing | None:
        """The examples of a split; classes are called by their numbers."""
        import numpy as np

        folder = self._path / split
        files = sorted(folder.glob("*" + SUFFIX))
        if split == "val" and not files:
            return None
        if not files:
            raise NetspecError(f"{printable(folder)}: no arrays there; expected INPUT.npy for each network input")
        found = {file.stem: _mapped(file) for file in files}
        counts = {name: len(array) for name, array in found.items()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            raise NetspecError(f"{printable(folder)}: arrays of different numbers of examples: {told}")
        kinds = {name: ArrayKind(array.shape[1:], str(array.dtype)) for name, array in found.items()}
        whole = [name for name, kind in kinds.items() if is_label(kind)]
        if len(whole) > 1:
            told = ", ".join(f"{name} {list(kind.shape)} {kind.dtype}" for name, kind in kinds.items())
            rule = "at most one array of whole numbers has the labels of all examples"
            raise NetspecError(f"{printable(folder)}: {rule}; there are: {told}")
        make = partial(ArraysSplit, folder, kinds)
        if not whole:
            return Listing(printable(folder), (), np.zeros(max(counts.values()), np.int32), make)
        labels = np.asarray(found[whole[0]])
        if not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= _MOST_CLASSES:
            raise NetspecError(f"{printable(folder / whole[0])}{SUFFIX}: labels are from 0 to {_MOST_CLASSES - 1:,}")
        names = tuple(str(number) for number in range(int(labels.max()) + 1))
        return Listing(printable(folder), names, labels.astype(np.int32), make)


_MOST_CLASSES = 1_000_000


def is_label(kind: ArrayKind) -> bool:
    """Whether an array holds a whole number for each example."""
    return not kind.shape and kind.dtype.startswith(("int", "uint"))


def _picture(pixels: NDArray[Any]) -> Image:
    import numpy as np
    from PIL import Image

    grey = pixels.ndim == 3 and pixels.shape[2] == 1
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if grey else pixels))


def _mapped(file: Path) -> NDArray[Any]:
    """The array in a file. Raises NetspecError for what is none, or holds Python's objects."""
    import numpy as np

    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise NetspecError(f"{printable(file)}: no array that numpy.load reads: {error}") from error
    if not isinstance(array, np.ndarray) or not array.ndim:
        raise NetspecError(f"{printable(file)}: not an array with an example in each row")
    return array
