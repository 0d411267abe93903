"""The images of a split that lie in tar archives, one or many: each is read in place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from netspec.data.index.archive import File, open_archive, read_file
from netspec.data.index.listing import Images
from netspec.data.index.packed_names import PackedNames
from netspec.data.source import Split
from netspec.errors import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from netspec.data.statistics import Statistics

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
    def of(cls, images: Images, prefix: bytes) -> Members:
        """Those of a listing; ``prefix`` leads to the split's folder."""
        import numpy as np

        files: list[File] = [file for _, file in images]
        columns = np.array([(file.archive, file.offset, file.size) for file in files], np.int64).reshape(-1, 3)
        sparse = {i: file.pieces for i, file in enumerate(files) if file.pieces is not None}
        names = PackedNames([prefix + path for path, _ in images])
        return cls(names, columns[:, 0].copy(), columns[:, 1].copy(), columns[:, 2].copy(), sparse)

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
        statistics: tuple[Path, str] | None = None,
    ) -> None:
        """``statistics`` is the file in which they are kept, and the digest of the set."""
        self.labels = labels
        self._archives, self._members, self._statistics = tuple(archives), members, statistics
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

    def statistics(self) -> Statistics | None:
        """Those that are kept beside the shards of a prepared set."""
        from netspec.data.statistics_file import load_statistics

        return load_statistics(*self._statistics) if self._statistics is not None else None

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files, which are this process's own."""
        return {**self.__dict__, "_handles": {}}

    def __del__(self) -> None:
        """Close the archives."""
        for handle in self.__dict__.get("_handles", {}).values():
            os.close(handle)
