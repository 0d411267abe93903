"""How many images a core prepares in a second: netspec's pipeline beside two ways of doing the same work.

The work: 256 x 256 JPEGs, a random crop of 224 x 224 from each, mirrored or not, in uint8 batches of 128. One run
measures all in turn, several times: ``python benchmarks/data.py``. Images per second of CPU time, of the process and
its workers together, are what one core does; the clock's time is shown beside it.
Photographs of imagenet-sample are used where they are (NETSPEC_DATA, or ../shared/data beside the repository), else
drawn pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import platform
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from netspec.data.dataset import Dataset, open_dataset
from netspec.data.pipeline import Pipeline
from netspec.data.resident import Held, ResidentPipeline
from netspec.data.settings import More
from netspec.spec.types import DataSpec

BATCH, SIZE, CROP = 128, 256, 224
BATCHES = 20
LOOP = "Pillow + numpy loop"
DATA = DataSpec(resize=SIZE, mirror=True)


def prepare(folder: Path, images: int) -> str:
    """Fill ``folder``/train with class folders of JPEGs; returns what they are."""
    root = Path(os.environ.get("NETSPEC_DATA") or Path(__file__).parents[2] / "shared" / "data")
    archive = root / "imagenet-sample" / "train.tar"
    if archive.is_file():
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
        return "1,000 photographs (imagenet-sample)"
    split = open_dataset(DataSpec({"type": "generated", "classes": 10, "images": images, "size": SIZE}), 0).train
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
    while True:
        order = random.permutation(len(paths))
        for start in range(0, len(paths) - BATCH + 1, BATCH):
            yield len(np.stack([read_one(paths[i], random) for i in order[start : start + BATCH]]))


def torch_loader(paths: list[Path], workers: int) -> Iterator[int]:
    """PyTorch's DataLoader over the same function."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    random = np.random.default_rng(0)

    class Images(Dataset[Any]):
        def __len__(self) -> int:
            return BATCH * (BATCHES + 4)

        def __getitem__(self, i: int) -> tuple[Any, int]:
            pixels = read_one(paths[i % len(paths)], random)
            return torch.from_numpy(np.ascontiguousarray(pixels)), 0

    for images, _ in DataLoader(Images(), BATCH, shuffle=True, num_workers=workers, drop_last=True):
        yield len(images)


def netspec(source: Dataset, workers: int) -> Iterator[int]:
    """netspec's pipeline."""
    with Pipeline(source.train, DATA, "train", BATCH, (CROP, CROP, 3), 0, workers) as pipeline:
        for epoch in itertools.count():
            for batch in pipeline.epoch(epoch):
                yield batch.valid
                batch.release()


def tables(source: Dataset) -> Iterator[int]:
    """What netspec does on the host where the images stay on the devices, see docs/data.md."""
    held = Held(np.empty((len(source.train), 0), np.uint8), (0,), ({},))
    pipeline = ResidentPipeline(source.train, DATA, "train", BATCH, (CROP, CROP, 3), 0, held, More())
    with contextlib.closing(pipeline):
        for epoch in itertools.count():
            for batch in pipeline.epoch(epoch):
                yield batch.valid


def cpu_seconds() -> float:
    """CPU time of this process and its children so far, from /proc; nan elsewhere than on Linux."""
    ticks, me = 0, str(os.getpid())
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, rest = stat.parent.name, stat.read_text().rpartition(")")[2].split()
            ticks += int(rest[11]) + int(rest[12]) if me in (pid, rest[1]) else 0
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else math.nan


def rates(batches: Iterator[int]) -> tuple[float, float]:
    """Images per second of CPU time and of the clock, over batches in full swing: starting up does not count."""
    for _ in range(3):
        next(batches)
    began, cpu, images = time.perf_counter(), cpu_seconds(), 0
    while images < BATCH * BATCHES or cpu_seconds() - cpu < 0.2:  # /proc counts hundredths of a second
        images += sum(itertools.islice(batches, BATCHES))
    result = images / (cpu_seconds() - cpu), images / (time.perf_counter() - began)
    batches.close()  # type: ignore[attr-defined]
    return result


def contenders(paths: list[Path], source: Dataset) -> dict[str, Callable[[], Iterator[int]]]:
    """What is measured, by name."""
    found: dict[str, Callable[[], Iterator[int]]] = {
        LOOP: lambda: plain_loop(paths),
        "netspec, in a thread": lambda: netspec(source, 0),
        "netspec, 1 worker": lambda: netspec(source, 1),
        "netspec, images on a GPU": lambda: tables(source),
    }
    if find_spec("torch"):
        found["torch DataLoader, 1 worker"] = lambda: torch_loader(paths, 1)
    else:
        print("torch is not installed: its DataLoader is left out")
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--images", type=int, default=1000, help="pictures drawn where no photographs are found")
    parser.add_argument("--json", type=Path, help="write the table there too, for machines")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        what = prepare(Path(name), options.images)
        source = open_dataset(DataSpec({"type": "folder", "path": name}), 0)
        every = contenders(sorted(Path(name).glob("train/*/*")), source)
        found: dict[str, list[tuple[float, float]]] = {key: [] for key in every}
        for _ in range(options.rounds):
            for key, start in every.items():
                found[key].append(rates(start()))
    result = {**circumstances(), "images": what, "rounds": options.rounds, "rows": rows(found)}
    print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def rows(found: dict[str, list[tuple[float, float]]]) -> list[dict[str, Any]]:
    """One row a reader; ratios are to the loop of the same round."""
    base = [cpu for cpu, _ in found[LOOP]]
    return [
        {
            "reader": key,
            "per_cpu_second": float(np.median([cpu for cpu, _ in results])),
            "best": max(cpu for cpu, _ in results),
            "faster_by": float(np.median([cpu / its for (cpu, _), its in zip(results, base, strict=True)])),
            "per_second": float(np.median([clock for _, clock in results])),
        }
        for key, results in found.items()
    ]


def table(result: dict[str, Any]) -> str:
    """The result for people, as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    machine = f"{result['date']}, {result['cores']} cores of an {result['cpu']}, {versions}"
    lines = [f"{result['images']}; {machine}; {result['rounds']} rounds.", ""]
    lines += ["| reader | img per CPU second, median | best | faster than the loop by | img/s by the clock |"]
    lines += ["|---|---|---|---|---|"]
    for row in result["rows"]:
        rates = f"{row['per_cpu_second']:,.0f} | {row['best']:,.0f} | {row['faster_by']:.2f} | {row['per_second']:,.0f}"
        lines.append(f"| {row['reader']} | {rates} |")
    return "\n".join(lines)


def circumstances() -> dict[str, Any]:
    """The date, the machine, the versions and the command."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    versions = {}
    for package in ("numpy", "pillow", "simplejpeg", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "date": date.today().isoformat(),
        "command": "python " + " ".join([str(Path(sys.argv[0])), *sys.argv[1:]]),
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": versions,
    }


if __name__ == "__main__":
    main()
