"""Statistics of images in a file: ``statistics.npz``, beside a prepared set or wherever they are wanted."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from netspec.data.statistics import Statistics
from netspec.errors import NetspecError, printable
from netspec.machine.atomic_files import write_whole

_OF = "set"


def save_statistics(path: Path, found: Statistics, of: str) -> None:
    """Write them; ``of`` is the digest of the images that they are of. Raises NetspecError."""
    file = io.BytesIO()
    arrays: dict[str, Any] = {_OF: np.array(of), **found._asdict()}
    np.savez(file, **arrays)
    write_whole(path, [file.getvalue()])


def load_statistics(path: Path, of: str) -> Statistics | None:
    """Those of the images of that digest; None where there are none, or of other images.

    Raises NetspecError for a file that is something else.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file[_OF]) != of:
                return None
            arrays = {name: file[name] for name in Statistics._fields}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise NetspecError(f"{printable(path)}: holds no statistics, or is damaged; remove it ({error})") from error
    return Statistics(**{**arrays, "images": int(arrays["images"])})
