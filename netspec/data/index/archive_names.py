"""Names under which the archives of a split are looked for in a folder."""

from __future__ import annotations

from pathlib import Path

PATTERNS = ("{}.tar", "ILSVRC2012_img_{}.tar", "{}-*.tar", "{}/*.tar")
"""Of a split's name, in this order: one archive, ILSVRC's, numbered shards, and a folder with a tar for each class."""


def archives_named(folder: Path, name: str) -> list[Path]:
    """The archives of that name or pattern in a folder, sorted; none where there is none."""
    if (folder / name).is_file():
        return [folder / name]
    return sorted(path for path in folder.glob(name) if path.is_file()) if "*" in name else []
