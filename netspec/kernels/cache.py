"""The content-addressed cache of compiled kernels: one folder a hash, so that no two hashes share numba's index."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from netspec.errors import NetspecError
from netspec.machine.private_folders import WRITTEN_BY_OTHERS, is_ours


def cache_root() -> Path:
    """Where compiled kernels are kept: $NETSPEC_CACHE_DIR, else the user's cache folder."""
    own = os.environ.get("NETSPEC_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(base) / "netspec"


def content_folder(digest: str, target: str) -> Path | None:
    """The folder of a kernel of that hash for that target; None where nothing can be written.

    ``target`` says everything beside the source that decides the machine code. Raises NetspecError as
    ``compiled_folder`` does.
    """
    compiled = compiled_folder()
    if compiled is None:
        return None
    folder = compiled / blake2b(f"{digest}\n{target}".encode(), digest_size=16).hexdigest()
    try:
        folder.mkdir(exist_ok=True)
    except OSError:  # kernels are then compiled in each process
        return None
    return folder if os.access(folder, os.W_OK) else None


def compiled_folder() -> Path | None:
    """The folder of all compiled kernels, made for this user alone; None where there can be none.

    What lies in it is loaded and run. So NetspecError is raised where it, or the folder it is in, belongs to somebody
    else, and where others may write to it.
    """
    root = cache_root()
    folder = root / "compiled"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = os.stat(root), os.lstat(folder)
        if is_ours(found[0]) and found[0].st_mode & WRITTEN_BY_OTHERS:
            root.chmod(stat.S_IMODE(found[0].st_mode) & ~WRITTEN_BY_OTHERS)
            found = os.stat(root), found[1]
    except OSError:
        return None
    for path, status in zip((root, folder), found, strict=True):
        if not stat.S_ISDIR(status.st_mode) or not is_ours(status) or status.st_mode & WRITTEN_BY_OTHERS:
            raise NetspecError(f"{path}: compiled kernels are run from here, so {_THE_RULE}")
    return folder


_THE_RULE = (
    "it must be a folder that belongs to you and that nobody else can write to; "
    "remove it, or name another place in NETSPEC_CACHE_DIR"
)


def kept_text(file: Path | None, make: Callable[[], str]) -> str:
    """A cached text: read from a file whose name is a hash of its inputs, else made and, if possible, stored.

    Whatever other processes write meanwhile, a file is whole or absent. Raises what ``make`` raises.
    """
    if file is None:
        return make()
    with contextlib.suppress(FileNotFoundError):
        return file.read_text()
    text = make()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as aside:
            (Path(aside) / file.name).write_text(text)
            os.replace(Path(aside) / file.name, file)
    return text


_UNREADABLE = (EOFError, UnpicklingError, ImportError, AttributeError)
"""What reading a file raises that is torn, or was written by a netspec that has other modules or classes."""


class SharedFiles:
    """A mix-in for numba's cache files: safe for concurrent processes; a file that cannot be read counts as a miss.

    numba numbers data files by the index it has read: two processes that compile for two signatures then write one
    file, and one signature is given the other's code.
    """

    if TYPE_CHECKING:
        _data_name: Any
        _save_data: Any
        _save_index: Any

    _index: Mapping[Any, Any] = MappingProxyType({})
    """What ``holds`` has read: reading it takes as long as reading the code."""

    def holds(self, key: Any) -> bool:
        """Whether there is data for the key."""
        self._index = self._load_index()
        return key in self._index

    def load(self, key: Any) -> Any:
        """The data, or None: as numba does, which reads the index once more."""
        if key not in self._index:
            return super().load(key)  # type: ignore[misc]
        with contextlib.suppress(OSError):
            return self._load_data(self._index[key])

    def save(self, key: Any, data: Any) -> None:
        """The data, under a name of the key's own, then the index that names it."""
        name = self._data_name(int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little"))
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})

    def _load_index(self) -> Any:
        try:
            return super()._load_index()  # type: ignore[misc]
        except _UNREADABLE:
            return {}

    def _load_data(self, name: str) -> Any:
        try:
            return super()._load_data(name)  # type: ignore[misc]
        except _UNREADABLE as error:
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
        """numba's stamp of staleness: the folder's name stands for the source."""
        return self.folder.name

    def get_disambiguator(self) -> None:
        """Nothing more: one folder holds one kernel."""
        return None
