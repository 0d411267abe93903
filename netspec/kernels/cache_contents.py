"""What the cache folder holds, and how it is emptied."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from netspec.errors import NetspecError
from netspec.kernels.cache import cache_root

TUNED = "tuned"
KINDS = {
    "compiled": "compiled kernels",
    "ptx": "what assembling kernels found",
    "sass": "machine code of kernels, disassembled",
    TUNED: "times of kernels; netspec tune --forget removes them",
}
"""The folders in the cache folder, and what is in each; whatever else lies there is not netspec's."""


class Kept(NamedTuple):
    """One folder of the cache: how many files it holds, and their bytes."""

    kind: str
    what: str
    files: int
    bytes: int


def contents() -> list[Kept]:
    """All folders that are there."""
    there = [(kind, what, cache_root() / kind) for kind, what in KINDS.items()]
    return [_kept(kind, what, folder) for kind, what, folder in there if _is_own(folder)]


def clear() -> list[Kept]:
    """Remove all that can be made again by itself, and tell what that was; kernels are compiled anew when needed.

    Times of kernels stay: they decide which kernels run, and so the last bits of a run. Raises NetspecError where
    something cannot be removed.
    """
    found = [one for one in contents() if one.kind != TUNED]
    try:
        for one in found:
            shutil.rmtree(cache_root() / one.kind)
    except OSError as error:
        raise NetspecError(f"{error.filename}: cannot be removed: {(error.strerror or str(error)).lower()}") from error
    return found


def _is_own(folder: Path) -> bool:
    """A link may lead to anything: it is not followed."""
    return folder.is_dir() and not folder.is_symlink()


def _kept(kind: str, what: str, folder: Path) -> Kept:
    sizes = list(_sizes(folder))
    return Kept(kind, what, len(sizes), sum(sizes))


def _sizes(folder: Path) -> Iterator[int]:
    for at, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # another process may remove it meanwhile
                yield os.lstat(Path(at) / name).st_size
