"""The images of a split that lie in tar archives, one or many: each is read in place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from netspec.data.index.archive import File, open_archive, read_file
from netspec.data.index.image_table import ImageTable
from netspec.data.index.packed_names import PackedNames
from netspec.data.source import Kept, Split
from netspec.errors import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_OPEN = 128
"""Archives that a process keeps open at a time."""


class Members(NamedTuple):
    """Where images lie: name, archive's number, offset and size in bytes, int64 (images,); sparse files' pieces."""

    names: PackedNames
    archives: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    sparse: Mapping[int, Any]

    @classmethod
    def of(cls, images: ImageTable, prefix: bytes) -> Members:
        """Those of a listing; ``prefix`` leads to the split's folder."""
        import numpy as np

        places = np.empty((3, len(images)), np.int64)
        sparse = {}
        for i, (_, file) in enumerate(images):
            places[:, i] = file.archive, file.offset, file.size
            if file.pieces is not None:
                sparse[i] = file.pieces
        names = PackedNames(prefix + path for path, _ in images)
        return cls(names, places[0], places[1], places[2], sparse)

    def part(self, indices: NDArray[np.int64]) -> Members:
        """Some of them."""
        sparse = {i: self.sparse[index] for i, index in enumerate(indices.tolist()) if index in self.sparse}
        names = self.names.part(indices.tolist())
        return Members(names, self.archives[indices], self.offsets[indices], self.sizes[indices], sparse)


class TarSplit(Split):
    """Some images of archives, in the order of their classes and names."""

    def __init__(
        self,
        archives: Sequence[Path],
        members: Members,
        labels: NDArray[np.int32],
        kept: Kept | None = None,
    ) -> None:
        self.labels, self.kept = labels, kept
        self._archives, self._members = tuple(archives), members
        self._handles: dict[int, int] = {}

    def name(self, i: int) -> str:
        """The path within the archive."""
        return printable(self._members.names[i])

    def read(self, i: int) -> bytes:
        """The member's bytes; raises BrokenImage for a link out of the archive and where the archive has shrunk."""
        _, archives, offsets, sizes, sparse = self._members
        return read_file(self._handle(int(archives[i])), File(int(offsets[i]), int(sizes[i]), sparse.get(i)))

    def _handle(self, number: int) -> int:
        if number not in self._handles:
            if len(self._handles) == _MOST_OPEN:
                os.close(self._handles.pop(next(iter(self._handles))))
            self._handles[number] = open_archive(self._archives[number])
        return self._handles[number]

    def part(self, indices: NDArray[np.int64]) -> TarSplit:
        """Some of the images."""
        return TarSplit(self._archives, self._members.part(indices), self.labels[indices])

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files, which are this process's own."""
        return {**self.__dict__, "_handles": {}}

    def __del__(self) -> None:
        """Close the archives."""
        for handle in self.__dict__.get("_handles", {}).values():
            os.close(handle)
