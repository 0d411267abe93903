"""Small image sets for the tests of netspec.data, and the real ones where this machine has them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import ROOT

from netspec.data.dataset import Dataset, open_dataset
from netspec.data.source import Split
from netspec.errors import NetspecError
from netspec.spec.types import DataSpec


def real(name: str) -> Path:
    """The folder of a real data set; skips the test where it is absent."""
    root = Path(os.environ.get("NETSPEC_DATA") or ROOT.parent / "shared" / "data")
    if not (root / name / "train.tar").is_file():
        pytest.skip(f"needs {name}/train.tar in {root} (set NETSPEC_DATA)")
    return root / name


def picture(seed: int, height: int = 40, width: int = 48) -> Image.Image:
    """A smooth random picture, so that JPEG keeps it well."""
    cells = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(seed: int, height: int = 40, width: int = 48) -> bytes:
    """A JPEG file of a random picture."""
    return encoded(picture(seed, height, width), quality=90)


def files(classes: int = 3, each: int = 8, prefix: str = "") -> dict[str, bytes]:
    """Paths and JPEG files of a few classes."""
    return {f"{prefix}class{c}/{i:03}.jpg": jpeg(1000 * c + i) for c in range(classes) for i in range(each)}


def write_folder(root: Path, content: dict[str, bytes]) -> Path:
    """Write the files below the folder."""
    for name, data in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_tar(path: Path, content: dict[str, bytes], format: int = tarfile.USTAR_FORMAT) -> Path:
    """Write the files to an archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format, errors="surrogateescape") as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def folder_source(path: Path) -> Dataset:
    """The data set of a folder."""
    return open_dataset(DataSpec({"type": "folder", "path": str(path)}), 0)


def tar_source(path: Path, **attrs: str) -> Dataset:
    """The data set of archives."""
    return open_dataset(DataSpec({"type": "tar", "path": str(path), **attrs}), 0)


def names(split: Split) -> list[str]:
    """The names of all images."""
    return [split.name(i) for i in range(len(split))]


def message(action: Callable[[], object]) -> str:
    """What is said of what cannot be done."""
    with pytest.raises(NetspecError) as error:
        action()
    return str(error.value)
