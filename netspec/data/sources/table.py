"""Image files with numbers to be predicted, listed in CSV files."""

from __future__ import annotations

import copy
import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import path, text
from netspec.contract.values import FLOAT32_MAX
from netspec.data.index.listing import Listing
from netspec.data.index.packed_names import PackedNames
from netspec.data.sample_files import image_file, write_files
from netspec.data.source import Source, Split, SplitName, read_regular_file
from netspec.errors import NetspecError, printable
from netspec.units import many

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TableSplit(Split):
    """The files of a table, in its order, each with its numbers."""

    def __init__(
        self, root: bytes, paths: PackedNames, numbers: NDArray[np.float32], labels: NDArray[np.int32]
    ) -> None:
        self.labels = labels
        self._root, self._paths, self._numbers = root, paths, numbers

    @property
    def numbers(self) -> NDArray[np.float32]:
        """The columns behind the first."""
        return self._numbers

    def name(self, i: int) -> str:
        """The path as the table has it."""
        return printable(self._paths[i])

    def read(self, i: int) -> bytes:
        """The file's bytes."""
        return read_regular_file(os.path.join(self._root, self._paths[i]))

    def part(self, indices: NDArray[np.int64]) -> TableSplit:
        """Some of the files."""
        part = copy.copy(self)
        part._paths, part._numbers = self._paths.part(indices.tolist()), self._numbers[indices]
        part.labels = self.labels[indices]
        return part


class Table(Source):
    """Image files and numbers to be predicted: ``path/train.csv`` and ``path/val.csv``.

    The first line names the columns. The first column is an image's file, its path seen from ``path``; the others are
    its numbers, which a float32 input of shape [K] takes in that order. Crops and mirroring leave the numbers as they
    are.
    """

    type = "table"
    sequences = None
    numbers = 0
    attrs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "path": path("the folder that the files' paths begin at"),
        "train": text("the training images' table below path", default="train.csv"),
        "val": text("the validation images' table below path", default="val.csv"),
    }

    @classmethod
    def samples(cls, folder: Path) -> Sequence[Mapping[str, Any]]:
        """See Source."""
        write_files(folder, {f"{number}.png": image_file(number) for number in range(12)})
        for split, numbers in (("train", range(8)), ("val", range(8, 12))):
            rows = "".join(f"{number}.png,{number / 4},{-number}\n" for number in numbers)
            (folder / f"{split}.csv").write_text(f"file,first,second\n{rows}")
        return ({"path": str(folder)},)

    def __init__(self, attrs: Mapping[str, Any], seed: int) -> None:
        self._path, self._attrs = Path(attrs["path"]).expanduser().absolute(), attrs
        self.where = printable(self._path)

    def list_split(self, split: SplitName, alone: bool = False) -> Listing | None:
        """The images of a split's table. Raises NetspecError for a line that is not as it should be."""
        import numpy as np

        file = self._path / self._attrs[split]
        if split == "val" and not file.exists() and self._attrs["val"] == self.attrs["val"]["default"]:
            return None
        columns = _header(file)
        if not alone and split == "val" and columns[1:] != (names := _header(self._path / self._attrs["train"])[1:]):
            raise NetspecError(f"{printable(file)}:1: the columns of numbers are not the training table's: {names}")
        rows = list(_rows(file, len(columns)))
        if not rows:
            raise NetspecError(f"{printable(file)}: no images in it")
        numbers = np.array([values for _, values in rows], np.float32)
        paths = PackedNames(os.fsencode(name) for name, _ in rows)
        make = partial(TableSplit, os.fsencode(self._path), paths, numbers)
        return Listing(printable(file), (), np.zeros(len(rows), np.int32), make)


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers."""
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            lines = csv.reader(text)
            for line in lines:
                if line:
                    yield lines.line_num, line
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise NetspecError(f"{printable(file)}: cannot be read: {reason}") from error


def _header(file: Path) -> list[str]:
    _, names = next(_lines(file), (1, []))
    if len(names) < 2 or any(_number(name) is not None for name in names):
        wanted = "expected the names of the columns: file, then one for each number"
        raise NetspecError(f"{printable(file)}:1: {wanted}; got '{','.join(names)[:80]}'")
    return names


def _rows(file: Path, columns: int) -> Iterator[tuple[str, list[float]]]:
    for place, line in list(_lines(file))[1:]:
        values = [_number(value) for value in line[1:]]
        if len(line) != columns or not line[0] or any(value is None for value in values):
            wanted = f"expected a file and {many(columns - 1, 'finite number')}"
            raise NetspecError(f"{printable(file)}:{place}: {wanted}, got '{','.join(line)[:80]}'")
        yield line[0], [value for value in values if value is not None]


def _number(text: str) -> float | None:
    """The number that a text is, None where it is none that float32 holds."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= FLOAT32_MAX else None
