"""Statistics in a file: ``statistics.npz`` beside a prepared set's shards, where runs find them, or wherever wanted."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netspec.data.geometry import centre, geometry_for
from netspec.data.settings import DataSpec
from netspec.data.source import Split
from netspec.data.statistics import Statistics
from netspec.errors import NetspecError, printable
from netspec.machine.atomic_files import write_whole

_SET = "set"


def kept_statistics(train: Split, data: DataSpec, image_shape: Sequence[int]) -> Statistics | None:
    """Those that are kept of all training images, the mean image at the network's central crop.

    None where there are none, or none of these images, and where the network's crops are of anything but the central
    square of the images as they are stored: the mean of central crops is then another. Raises NetspecError for a file
    that is something else.
    """
    geometry = geometry_for(data, image_shape)
    if train.kept is None or geometry.channels != 3:
        return None
    found = load_statistics(train.kept.path, train.kept.digest)
    if found is None or found.mean.shape[:2] != geometry.square:
        return None
    row, column = centre(geometry.square[0] - geometry.height, geometry.square[1] - geometry.width)
    return found._replace(mean=found.mean[row : row + geometry.height, column : column + geometry.width])


def save_statistics(path: Path, found: Statistics, of: str) -> None:
    """Write them; ``of`` is the digest of the set that they are of. Raises NetspecError."""
    file = io.BytesIO()
    arrays: dict[str, Any] = {_SET: np.array(of), **found._asdict()}
    np.savez(file, **arrays)
    write_whole(path, [file.getvalue()])


def load_statistics(path: Path, of: str) -> Statistics | None:
    """Those of the set of that digest; None where there are none, or of another set. Raises NetspecError."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file[_SET]) != of:
                return None
            arrays = {name: file[name] for name in Statistics._fields}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise NetspecError(f"{printable(path)}: holds no statistics, or is damaged; remove it ({error})") from error
    return Statistics(**{**arrays, "images": int(arrays["images"])})
