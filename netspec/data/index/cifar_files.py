"""CIFAR-10 and CIFAR-100 as they are given out: the python and the binary version, packed or unpacked.

A record is a 32 x 32 picture as 3,072 bytes, the red plane first (Krizhevsky, "Learning multiple layers of features
from tiny images", 2009). Pickles are read without running anything that they name: numpy arrays and plain values only.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from netspec.data.source import SplitName
from netspec.errors import NetspecError, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 32
_BYTES = 3 * SIDE * SIDE
_MOST_BYTES = 200 * 2**20


class Layout(NamedTuple):
    """A version's files by split, the one with the classes' names, and where labels are.

    ``labels`` are keys of a pickle, or places of bytes before the pixels; the first is the fine one. ``names`` are keys
    of the pickled ``meta``, or files of names, likewise.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    meta: tuple[str, ...]
    labels: tuple[Any, ...]
    names: tuple[Any, ...]

    @property
    def pickled(self) -> bool:
        """Whether it is the python version."""
        return isinstance(self.labels[0], bytes)


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_NAMES, _FINE, _COARSE = "batches.meta.txt", "fine_label_names.txt", "coarse_label_names.txt"
LAYOUTS = (
    Layout(_BATCHES, ("test_batch",), ("batches.meta",), (b"labels",), (b"label_names",)),
    Layout(
        ("train",),
        ("test",),
        ("meta",),
        (b"fine_labels", b"coarse_labels"),
        (b"fine_label_names", b"coarse_label_names"),
    ),
    Layout(tuple(f"{name}.bin" for name in _BATCHES), ("test_batch.bin",), (_NAMES,), (0,), (_NAMES,)),
    Layout(("train.bin",), ("test.bin",), (_FINE, _COARSE), (1, 0), (_FINE, _COARSE)),
)
"""CIFAR-10 and CIFAR-100, python; CIFAR-10 and CIFAR-100, binary."""


class Records(NamedTuple):
    """Pictures, uint8 (images, 3072), and their classes, int64 (images,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def find_cifar(path: Path) -> Path | None:
    """The folder or archive of CIFAR that a path means: itself, or the only one in it; None where there is none."""
    if path.is_file():
        return path if path.name.startswith("cifar-10") and ".tar" in path.name else None
    try:
        names = {each.name for each in path.iterdir()}
    except OSError:  # what is to be said of it is for others to say
        return None
    if _layout_of(names) is not None:
        return path
    inner = [each for each in sorted(path.glob("cifar-10*")) if each.is_dir() and find_cifar(each)]
    inner = inner or [each for each in sorted(path.glob("cifar-10*.tar*")) if each.is_file()]
    return inner[0] if len(inner) == 1 else None


def _layout_of(names: set[str]) -> Layout | None:
    return next((layout for layout in LAYOUTS if {*layout.train, *layout.val, *layout.meta} <= names), None)


def read_names(path: Path, coarse: bool) -> list[str]:
    """The names of the classes, by label; raises NetspecError."""
    layout = _layout(path)
    which = _which(layout, coarse, path)
    files = dict(_files(path, layout.meta))
    if layout.pickled:
        return [_text(name) for name in _unpickled(files[layout.meta[0]], path)[layout.names[which]]]
    return files[layout.names[which]].decode("utf-8", "replace").split()


def read_records(path: Path, split: SplitName, coarse: bool) -> Records:
    """The pictures of a split, in the order of the files; raises NetspecError for files that are damaged."""
    import numpy as np

    layout = _layout(path)
    which = _which(layout, coarse, path)
    wanted = layout.train if split == "train" else layout.val
    read = _of_pickle if layout.pickled else _of_bytes
    found = {name: read(content, layout, which, path) for name, content in _files(path, wanted)}
    parts = [found[name] for name in wanted]
    return Records(np.concatenate([part.pixels for part in parts]), np.concatenate([part.labels for part in parts]))


def _which(layout: Layout, coarse: bool, path: Path) -> int:
    if coarse and len(layout.labels) == 1:
        raise NetspecError(f"{printable(path)}: CIFAR-10 has no coarse classes")
    return int(coarse)


def _layout(path: Path) -> Layout:
    if path.is_dir():
        names = {each.name for each in path.iterdir()}
    else:
        names = {name for name, _ in _members(path, None)}
    layout = _layout_of(names)
    if layout is None:
        raise NetspecError(f"{printable(path)}: is not CIFAR-10 or CIFAR-100 as it is given out, or not all of it")
    return layout


def _files(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    if path.is_file():
        return _members(path, names)
    return ((name, (path / name).read_bytes()) for name in names)


def _members(path: Path, wanted: tuple[str, ...] | None) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an archive's files; None wants the names alone."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                file = archive.extractfile(member) if wanted and name in wanted and member.size < _MOST_BYTES else None
                if file is not None or not wanted:
                    yield name, file.read() if file is not None else b""
    except (OSError, EOFError, tarfile.TarError) as error:
        raise NetspecError(f"{printable(path)}: cannot be read: {error}") from error


def _of_pickle(content: bytes, layout: Layout, which: int, path: Path) -> Records:
    import numpy as np

    batch = _unpickled(content, path)
    try:
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[layout.labels[which]], np.int64)
    except (KeyError, ValueError, TypeError) as error:
        raise NetspecError(f"{printable(path)}: a batch lacks its data or its labels ({error})") from error
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), _BYTES):
        raise NetspecError(f"{printable(path)}: a batch has data of {pixels.dtype} {pixels.shape}")
    return Records(pixels, labels)


def _of_bytes(content: bytes, layout: Layout, which: int, path: Path) -> Records:
    import numpy as np

    size = len(layout.labels) + _BYTES
    if len(content) % size:
        raise NetspecError(f"{printable(path)}: a file of {len(content):,} bytes, no multiple of {size:,}")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    return Records(records[:, len(layout.labels) :], records[:, layout.labels[which]].astype(np.int64))


class _Plain(pickle.Unpickler):
    """Finds nothing but what numpy arrays are made of."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np
        from numpy._core import multiarray

        known: Mapping[str, Any] = {"_reconstruct": multiarray._reconstruct, "ndarray": np.ndarray}
        if module.startswith("numpy") and name in (*known, "dtype"):
            return known.get(name, np.dtype)
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 writes bytes
            return lambda text, encoding: text.encode("latin1")
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _unpickled(content: bytes, path: Path) -> dict[bytes, Any]:
    try:
        found = _Plain(io.BytesIO(content), encoding="bytes").load()
        return {key.encode() if isinstance(key, str) else key: value for key, value in found.items()}
    except Exception as error:  # a damaged pickle raises nearly anything
        raise NetspecError(f"{printable(path)}: a batch is damaged: {error}") from error


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
