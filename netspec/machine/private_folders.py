"""Folders whose content is believed: nobody but this user, and the system's, can have put it there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

WRITTEN_BY_OTHERS = 0o022


def is_ours(status: os.stat_result) -> bool:
    """Whether it belongs to this user."""
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def is_private(folder: Path) -> bool:
    """Whether it is a folder, and no link, that belongs to this user and that nobody else can write to."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and is_ours(found) and not found.st_mode & WRITTEN_BY_OTHERS
