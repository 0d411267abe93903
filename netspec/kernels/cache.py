"""Compiled kernels on disk, by content: one folder a hash, so that numba's index is never shared between two hashes."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any


def cache_root() -> Path:
    """Where compiled kernels are kept: $NETSPEC_CACHE_DIR, else the user's cache folder."""
    own = os.environ.get("NETSPEC_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(base) / "netspec"


def content_folder(digest: str, target: str) -> Path | None:
    """The folder of a kernel of that hash for that target; None where nothing can be written.

    ``target`` says everything beside the source that decides the machine code.
    """
    name = blake2b(f"{digest}\n{target}".encode(), digest_size=16).hexdigest()
    folder = cache_root() / "kernels" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home: kernels are then compiled in each process
        return None
    return folder if os.access(folder, os.W_OK) else None


class SharedFiles:
    """Put before numba's class of a cache's files: several processes may fill a folder, a torn file is as good as none.

    numba numbers data files by the index it has read: two processes that compile for two signatures then write one
    file, and one signature is given the other's code.
    """

    if TYPE_CHECKING:
        _data_name: Any
        _save_data: Any
        _save_index: Any

    def save(self, key: Any, data: Any) -> None:
        """The data, under a name of the key's own, then the index that names it."""
        name = self._data_name(int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little"))
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})

    def _load_index(self) -> Any:
        try:
            return super()._load_index()  # type: ignore[misc]
        except (EOFError, UnpicklingError):
            return {}

    def _load_data(self, name: str) -> Any:
        try:
            return super()._load_data(name)  # type: ignore[misc]
        except (EOFError, UnpicklingError) as error:
            raise FileNotFoundError(name) from error  # what numba knows as absent


class Locator:
    """Tells numba's cache where a kernel's files lie; their folder's name already stands for the content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_cache_path(self) -> str:
        """The folder."""
        return str(self.folder)

    def ensure_cache_path(self) -> None:
        """Make the folder anew where somebody removed it."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def get_source_stamp(self) -> str:
        """What makes files of another source stale."""
        return self.folder.name

    def get_disambiguator(self) -> None:
        """Nothing more: one folder holds one kernel."""
        return None
