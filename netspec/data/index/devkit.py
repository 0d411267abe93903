"""ILSVRC's development kit: which class each validation image is of, and what people call the classes.

Its ground truth counts classes by ILSVRC ids, an order of its own; ``meta.mat`` says which WordNet id each of them is.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from netspec.errors import NetspecError, printable

_NAME = "ILSVRC*devkit*"
_META, _TRUTH = "meta.mat", re.compile(r"(ILSVRC\d{4})_validation_ground_truth\.txt")
_NEEDS = "reading meta.mat needs SciPy: pip install 'netspec[ilsvrc]'"


class Devkit(NamedTuple):
    """The kit's name for the year's challenge, WordNet ids and words of its classes by ILSVRC id, and the ground truth.

    ``truth`` holds the ILSVRC id of each validation image, in the order of their numbers, which start at 1.
    """

    year: str
    ids: dict[int, str]
    words: dict[str, str]
    truth: list[int]

    def labels(self) -> dict[bytes, bytes]:
        """Class by file name of the validation images."""
        name = f"{self.year}_val_{{:08}}.JPEG"
        return {name.format(i).encode(): self.ids[number].encode() for i, number in enumerate(self.truth, 1)}


def find_devkit(folder: Path) -> Path | None:
    """The kit in a folder, ILSVRC2012_devkit_t12.tar.gz or the same unpacked; None where there is none."""
    return next((path for path in sorted(folder.glob(_NAME)) if path.is_file() or any(path.rglob(_META))), None)


@lru_cache(maxsize=2)
def read_devkit(path: Path) -> Devkit:
    """Read a kit; raises NetspecError for one that is damaged or lacks a file, and where SciPy is not installed."""
    files = {name.rpartition("/")[2]: read for name, read in _files(path)}
    truth = next((found for name in files if (found := _TRUTH.fullmatch(name))), None)
    if _META not in files or truth is None:
        raise NetspecError(f"{printable(path)}: holds no {_META} with a ground truth of validation images")
    ids, words = _synsets(files[_META], path)
    try:
        numbers = [int(line) for line in files[truth[0]].split()]
    except ValueError as error:
        raise NetspecError(f"{printable(path)}: {truth[0]}: expected an ILSVRC id a line ({error})") from error
    if unknown := sorted(set(numbers) - set(ids)):
        raise NetspecError(f"{printable(path)}: {truth[0]} has the id {unknown[0]}, which {_META} does not know")
    return Devkit(truth[1], ids, words, numbers)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files that count, by name."""
    try:
        if path.is_dir():
            yield from ((each.name, each.read_bytes()) for each in sorted(path.rglob("*")) if _counts(each.name))
            return
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if _counts(member.name) else None
                if file is not None:
                    yield member.name, file.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise NetspecError(f"{printable(path)}: cannot be read: {error}") from error


def _counts(name: str) -> bool:
    return name.endswith(_META) or _TRUTH.search(name) is not None


def _synsets(content: bytes, path: Path) -> tuple[dict[int, str], dict[str, str]]:
    """WordNet id by ILSVRC id, and words by WordNet id, of the synsets without children: those are the classes."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise NetspecError(f"{printable(path)}: {_NEEDS}") from error
    try:
        rows: Any = loadmat(io.BytesIO(content), squeeze_me=True)["synsets"]
        leaves = [row for row in rows if int(row["num_children"]) == 0]
        number = next(name for name in rows.dtype.names if name.endswith("_ID"))
        ids = {int(row[number]): str(row["WNID"]) for row in leaves}
        return ids, {str(row["WNID"]): str(row["words"]) for row in leaves}
    except Exception as error:  # loadmat raises nearly anything for a damaged file
        raise NetspecError(f"{printable(path)}: {_META} is damaged: {error}") from error
