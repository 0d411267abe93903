"""Compiled kernels on disk, by content: one folder a hash, so that numba's index is never shared between two hashes."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path


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
