"""CIFAR-10 and CIFAR-100 as they are given out, python or binary, packed or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import boolean, path
from netspec.data.index.cifar_files import SIDE, find_cifar, read_names, read_records
from netspec.data.index.listing import Listing
from netspec.data.source import Source, Split, SplitName
from netspec.errors import NetspecError, printable
from netspec.units import many

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image


class CifarSplit(Split):
    """Pictures in memory, 3,072 bytes each, in the order of their classes and, in a class, of the files."""

    def __init__(
        self, names: tuple[str, ...], pixels: NDArray[np.uint8], numbers: NDArray[np.int64], labels: NDArray[np.int32]
    ) -> None:
        """``names`` are those of the classes by label, ``numbers`` the pictures' places in the files."""
        self.labels = labels
        self._names, self._pixels, self._numbers = names, pixels, numbers

    def name(self, i: int) -> str:
        """The class and the number in the files, from 0."""
        return f"{self._names[i]}/{self._numbers[i]:05}.png"

    def read(self, i: int) -> Image:
        """The picture."""
        from PIL import Image

        planes = self._pixels[i].reshape(3, SIDE, SIDE)
        return Image.fromarray(planes.transpose(1, 2, 0).copy())

    def part(self, indices: NDArray[np.int64]) -> CifarSplit:
        """Some of the pictures."""
        names = tuple(self._names[i] for i in indices.tolist())
        return CifarSplit(names, self._pixels[indices], self._numbers[indices], self.labels[indices])


class Cifar(Source):
    """The pictures of CIFAR-10 or CIFAR-100; its test set is the validation split."""

    type = "cifar"
    sequences = False
    attrs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "path": path("cifar-10-batches-py or another version, its .tar.gz, or a folder with one of them"),
        "coarse": boolean("CIFAR-100's 20 superclasses instead of its 100 classes", default=False),
    }

    @classmethod
    def samples(cls, folder: Path) -> Sequence[Mapping[str, Any]]:
        """See Source."""
        names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
        for place, name in enumerate(names):
            rows = (bytes([kind, *((7 * place + kind + i) % 256 for i in range(3 * SIDE * SIDE))]) for kind in (0, 1))
            (folder / f"{name}.bin").write_bytes(b"".join(rows))
        (folder / "batches.meta.txt").write_text("hare\ndove\n")
        return ({"path": str(folder)},)

    def __init__(self, attrs: Mapping[str, Any], seed: int) -> None:
        given = Path(attrs["path"]).expanduser().absolute()
        self._path, self._coarse = given, attrs["coarse"]
        self.where = printable(given)

    def list_split(self, split: SplitName, alone: bool = False) -> Listing | None:
        """The pictures of a split by class; classes are in the order of the set's own numbers' names, sorted."""
        import numpy as np

        found = find_cifar(self._path) if self._path.exists() else None
        if found is None:
            raise NetspecError(f"{self.where}: no CIFAR-10 or CIFAR-100 as it is given out")
        names = read_names(found, self._coarse)
        pixels, labels = read_records(found, split, self._coarse)
        if labels.max(initial=0) >= len(names) or not len(labels):
            held = f"{many(len(labels), 'picture')} of {many(len(names), 'class')}"
            raise NetspecError(f"{self.where}: {held}, and others")
        by_name = np.argsort(np.array(names), kind="stable")
        classes = tuple(names[i] for i in by_name)
        numbers = np.argsort(by_name)[labels].astype(np.int32)
        order = np.argsort(numbers, kind="stable")
        of_each = tuple(classes[i] for i in numbers[order].tolist())
        make = partial(CifarSplit, of_each, pixels[order], order)
        return Listing(self.where, classes, numbers[order], make)
