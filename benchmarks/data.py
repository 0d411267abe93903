"""How many images a core prepares in a second: netspec's pipeline beside two ways of doing the same work.

The work: 256 x 256 JPEGs, a random crop of 224 x 224 from each, mirrored or not, in uint8 batches of 128. One run
measures all in turn, several times, and prints the best of each: ``python benchmarks/data.py``. It uses the photographs
of imagenet-sample where they are (NETSPEC_DATA, or ../shared/data beside the repository), else pictures it draws.
"""

from __future__ import annotations

import argparse
import os
import platform
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from netspec.data.pipeline import Pipeline
from netspec.data.source import Source
from netspec.data.sources import open_source
from netspec.spec.model import DataSpec

BATCH, SIZE, CROP = 128, 256, 224
DATA = DataSpec(resize=SIZE, mirror=True)


def prepare(folder: Path, images: int) -> str:
    """Fill ``folder``/train with class folders of JPEGs; returns what they are."""
    root = Path(os.environ.get("NETSPEC_DATA") or Path(__file__).parents[2] / "shared" / "data")
    archive = root / "imagenet-sample" / "train.tar"
    if archive.is_file():
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
        return "1,000 photographs (imagenet-sample)"
    split = open_source(DataSpec({"type": "generated", "classes": 10, "images": images, "size": SIZE}), 0).train
    for i in range(images):
        path = folder / "train" / str(split.labels[i]) / f"{i:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = split.read(i)
        assert isinstance(picture, Image.Image)
        picture.save(path, quality=90)
    return f"{images:,} drawn pictures"


def read_one(path: Path, random: np.random.Generator) -> np.ndarray:
    """The usual way, with Pillow and numpy."""
    image = Image.open(path).convert("RGB")
    if min(image.size) != SIZE:
        scale = SIZE / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    y, x = random.integers(0, pixels.shape[0] - CROP + 1), random.integers(0, pixels.shape[1] - CROP + 1)
    crop = pixels[y : y + CROP, x : x + CROP]
    return crop[:, ::-1] if random.integers(2) else crop


def plain_loop(paths: list[Path]) -> Iterator[int]:
    """Pillow and numpy in a loop."""
    random = np.random.default_rng(0)
    order = random.permutation(len(paths))
    for start in range(0, len(paths) - BATCH + 1, BATCH):
        yield len(np.stack([read_one(paths[i], random) for i in order[start : start + BATCH]]))


def torch_loader(paths: list[Path], workers: int) -> Iterator[int]:
    """PyTorch's DataLoader over the same function."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Images(Dataset[Any]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> tuple[Any, int]:
            pixels = read_one(paths[i], np.random.default_rng(i))
            return torch.from_numpy(np.ascontiguousarray(pixels)), 0

    for images, _ in DataLoader(Images(), BATCH, shuffle=True, num_workers=workers, drop_last=True):
        yield len(images)


def netspec(source: Source, workers: int) -> Iterator[int]:
    """netspec's pipeline."""
    with Pipeline(source, DATA, "train", BATCH, (CROP, CROP, 3), 0, workers) as pipeline:
        for batch in pipeline.epoch(0):
            yield batch.valid
            batch.release()


def rate(batches: Iterator[int]) -> float:
    """Images a second from the first batch on, so that starting up does not count."""
    next(batches)
    began = time.perf_counter()
    images = sum(batches)
    return images / (time.perf_counter() - began)


def contenders(paths: list[Path], source: Source) -> dict[str, Callable[[], Iterator[int]]]:
    """What is measured, by name."""
    found: dict[str, Callable[[], Iterator[int]]] = {
        "Pillow + numpy loop": lambda: plain_loop(paths),
        "netspec, in a thread": lambda: netspec(source, 0),
        "netspec, 1 worker": lambda: netspec(source, 1),
    }
    try:
        import torch

        found[f"torch {torch.__version__} DataLoader, 1 worker"] = lambda: torch_loader(paths, 1)
    except ImportError:
        print("torch is not installed: its DataLoader is left out")
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--images", type=int, default=1000, help="pictures drawn where no photographs are found")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        what = prepare(Path(name), options.images)
        source = open_source(DataSpec({"type": "folder", "path": name}), 0)
        every = contenders(sorted(Path(name).glob("train/*/*")), source)
        rates: dict[str, list[float]] = {key: [] for key in every}
        for _ in range(options.rounds):
            for key, start in every.items():
                rates[key].append(rate(start()))
    print(f"{what}; {platform.processor() or platform.machine()}, {os.cpu_count()} cores; best of {options.rounds}\n")
    print("| reader | img/s per core | to the loop, best | median of the rounds |\n| --- | ---: | ---: | ---: |")
    base = rates["Pillow + numpy loop"]
    for key, found in rates.items():
        paired = float(np.median([mine / its for mine, its in zip(found, base, strict=True)]))
        print(f"| {key} | {max(found):,.0f} | {max(found) / max(base):.2f} | {paired:.2f} |")


if __name__ == "__main__":
    main()
