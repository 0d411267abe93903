"""Which plugins this user has chosen to run, by the digests of their code.

A run, and a checkpoint, names the plugins that it was made with, and whoever made it can have written anything there.
So code that only a run names is run where the same code was named before by this user: by ``--plugin``,
``NETSPEC_PLUGINS`` or ``plugins=``, or by ``--trust``. What was is kept as a file a digest, in a folder of the user's.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from netspec.machine.private_folders import is_private

_session: set[str] = set()
"""Digests that could not be kept."""
_asked = False


def state_root() -> Path | None:
    """Where what a user decided is kept: $NETSPEC_STATE_DIR, else the user's folder for state; None without a home."""
    own = os.environ.get("NETSPEC_STATE_DIR")
    if own:
        return Path(own)
    try:
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "netspec"
    except RuntimeError:
        return None


def trusted_folder() -> Path | None:
    """The folder of the digests, whether it is there or not."""
    root = state_root()
    return None if root is None else root / "trusted-plugins"


def is_safe(folder: Path) -> bool:
    """Whether nobody else can have put a file there."""
    return is_private(folder) and is_private(Path(os.path.realpath(folder.parent)))


def remember(digest: str, file: str) -> None:
    """Count this code as trusted; for this process alone where the user's folder cannot be written."""
    folder = trusted_folder()
    if folder is None or not _keep(folder, digest, file):
        _session.add(digest)


def _keep(folder: Path, digest: str, file: str) -> bool:
    if _is_kept(folder, digest):
        return True
    told = f"{file}\n{time.strftime('%Y-%m-%d %H:%M:%S')}\n"
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        if is_safe(folder):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(os.open(folder / digest, flags, 0o600), "wb") as record:
                record.write(told.encode(errors="surrogateescape"))
            return True
    return False


def _is_kept(folder: Path, digest: str) -> bool:
    return is_safe(folder) and (folder / digest).is_file()


def is_trusted(digest: str) -> bool:
    """Whether this user has chosen to run this code."""
    folder = trusted_folder()
    return digest in _session or (folder is not None and _is_kept(folder, digest))


def is_asked() -> bool:
    """Whether whatever runs name is to be trusted, as by ``--trust``."""
    return _asked


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """Meanwhile, whatever runs name is trusted, and remembered."""
    global _asked
    before, _asked = _asked, True
    try:
        yield
    finally:
        _asked = before
