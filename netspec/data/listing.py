"""From a list of image paths to classes and labels: what folder and tar have in common.

An image's class is the name of the folder it lies in. Paths are bytes, as file systems and archives have them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from netspec.data.source import printable
from netspec.errors import NetspecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUFFIXES = (b".jpg", b".jpeg", b".png", b".webp", b".bmp", b".gif", b".ppm", b".pgm", b".tif", b".tiff")
"""A file is taken for an image by its suffix; what it really holds is found when it is read."""

VALIDATION_NAMES = ("val", "validation", "valid", "test")
"""Names under which a validation split is looked for, in this order."""

LAYOUTS = "DIR/train/CLASS/*.jpg with DIR/val/ or DIR/test/, or DIR/train.tar with val.tar or test.tar"
"""The layouts that ``--data DIR`` understands, for messages."""


def is_image_name(path: bytes) -> bool:
    """Whether the name is that of an image; hidden ones (``._x.jpg``, ``.trash/x.jpg``) are not."""
    return path.lower().endswith(SUFFIXES) and not is_hidden(path)


def is_hidden(path: bytes) -> bool:
    """Whether the file or a folder that it lies in begins with a dot."""
    return path.startswith(b".") or b"/." in path


def class_of(path: bytes) -> bytes:
    """The name of the folder the image lies in; empty where it lies in none."""
    return path.rpartition(b"/")[0].rpartition(b"/")[2]


def in_class_order(paths: Iterable[bytes]) -> list[bytes]:
    """The paths sorted by class, then by path."""
    return sorted(paths, key=lambda path: (class_of(path), path))


def class_names(paths: Sequence[bytes], where: str) -> tuple[bytes, ...]:
    """The sorted classes of the training paths; raises NetspecError where there is none."""
    if not paths:
        kinds = " ".join(suffix.decode() for suffix in SUFFIXES)
        raise NetspecError(f"{where}: no images found; looked for CLASS/FILE with one of the suffixes {kinds}")
    stray = next((path for path in paths if not class_of(path)), None)
    if stray is not None:
        raise NetspecError(f"{where}: {printable(stray)} lies in no class folder; images must lie in CLASS/FILE")
    return tuple(sorted({class_of(path) for path in paths}))


def refuse_empty_classes(empty: Sequence[bytes], where: str) -> None:
    """Raise NetspecError naming the class folders that hold no image."""
    if empty:
        names = listed([printable(path) for path in sorted(empty)])
        raise NetspecError(f"{where}: no images in {names}; put images there or remove the empty folders")


def label_array(paths: Sequence[bytes], classes: Sequence[bytes], where: str) -> NDArray[np.int32]:
    """Class index of each path, int32 (len(paths),); raises NetspecError naming classes that training has not."""
    import numpy as np

    number = {name: i for i, name in enumerate(classes)}
    unknown = sorted({class_of(path) for path in paths} - number.keys())
    if unknown:
        names = listed([printable(name) or "(no folder)" for name in unknown])
        raise NetspecError(f"{where}: classes that the training images do not have: {names}")
    return np.fromiter((number[class_of(path)] for path in paths), np.int32, len(paths))


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, quoted, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more


class Names:
    """Many names in one piece of memory: fast to pickle where a list of a million strings is not."""

    def __init__(self, names: Sequence[bytes]) -> None:
        import numpy as np

        self._text = b"".join(names)
        self._ends = np.cumsum(np.fromiter((len(name) for name in names), np.int64, len(names)))

    def __getitem__(self, i: int) -> bytes:
        """The i-th name, for i from 0."""
        start = int(self._ends[i - 1]) if i else 0
        return self._text[start : int(self._ends[i])]
