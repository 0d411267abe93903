"""Small image files and folders of them, for the samples that data sources give their contract suite."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

CLASSES, EACH, SIDE = 2, 4, 16


def image_file(number: int) -> bytes:
    """A PNG file of a picture that no other number has."""
    from PIL import Image

    tone = 40 * number % 256, 80 + 20 * number % 176, 7 * number % 256
    picture = Image.new("RGB", (SIDE, SIDE), tone)
    picture.paste((255 - tone[0], number % 256, 128), (number % 8, number % 5, number % 8 + 6, number % 5 + 7))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def class_files() -> dict[str, bytes]:
    """Paths and contents of a training and a validation split of two classes."""
    kinds = [(split, kind) for split in ("train", "val") for kind in range(CLASSES)]
    return {
        f"{split}/class{kind}/{number}.png": image_file(1 + number + EACH * place)
        for place, (split, kind) in enumerate(kinds)
        for number in range(EACH)
    }


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write contents by paths below the folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
