"""How fast ``netspec data prepare`` is beside Pillow and multiprocessing doing the same, and what memory it takes.

The work: JPEGs of ILSVRC's usual size, 500 x 375 pixels in class folders, become tar shards of 256 x 256 JPEGs of
quality 90: short side resized with Pillow's antialiased bilinear filter, central square. Both use as many processes,
and are timed by the clock from the start of the command to its end, in turn, several times; CPU seconds are those of
all their processes. Pictures are photographs of imagenet-sample brought to that size (NETSPEC_DATA, or ../shared/data
beside the repository), else drawn ones. The peak memory is that of the largest process, for sets of two sizes of tiny
images.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tables
from data import circumstances
from PIL import Image

from netspec.data.dataset import open_dataset
from netspec.spec.types import DataSpec

SIZE, QUALITY = 256, 90
WIDTH, HEIGHT = 500, 375
CLASSES = 10
BASELINE = "Pillow + multiprocessing"


def originals(folder: Path, images: int) -> str:
    """Fill folder/train with class folders of JPEGs; returns what they are."""
    root = Path(os.environ.get("NETSPEC_DATA") or Path(__file__).parents[2] / "shared" / "data")
    archive = root / "imagenet-sample" / "train.tar"
    shown = photographs(archive) if archive.is_file() else drawn()
    random = np.random.default_rng(0)
    for i in range(images):
        pixels = np.asarray(next(shown).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
        grain = random.integers(-12, 13, pixels.shape, np.int16)  # so that files are as long as of photographs
        path = folder / "train" / f"class{i % CLASSES}" / f"{i:05}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
    return "photographs (imagenet-sample)" if archive.is_file() else "drawn pictures"


def photographs(archive: Path) -> Iterator[Image.Image]:
    """Those of an archive, over and over."""
    while True:
        with tarfile.open(archive) as file:
            for member in file:
                if content := file.extractfile(member):
                    yield Image.open(io.BytesIO(content.read())).convert("RGB")


def drawn() -> Iterator[Image.Image]:
    """Pictures of the generated source, over and over."""
    split = open_dataset(DataSpec({"type": "generated", "classes": CLASSES, "images": 500, "size": SIZE}), 0).train
    while True:
        for i in range(len(split)):
            picture = split.read(i)
            assert isinstance(picture, Image.Image)
            yield picture


def one_by_pillow(path: Path) -> bytes:
    """One image, as the baseline prepares it."""
    image = Image.open(path).convert("RGB")
    scale = SIZE / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    file = io.BytesIO()
    image.crop((left, top, left + SIZE, top + SIZE)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def by_pillow(source: Path, out: Path, workers: int) -> None:
    """The baseline: a pool of processes, and one archive of what they make."""
    out.mkdir()
    paths = sorted(source.glob("train/*/*"))
    with multiprocessing.get_context("fork").Pool(workers) as pool, tarfile.open(out / "train.tar", "w") as archive:
        for path, content in zip(paths, pool.imap(one_by_pillow, paths, chunksize=16), strict=True):
            info = tarfile.TarInfo(f"{path.parent.name}/{path.name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def by_netspec(source: Path, out: Path, workers: int) -> None:
    """The command."""
    command = [sys.executable, "-m", "netspec", "data", "prepare", str(source), str(out), "--workers", str(workers)]
    subprocess.run(command, check=True, capture_output=True)


def timed(do: Callable[[Path, Path, int], None], source: Path, workers: int) -> tuple[float, float]:
    """Seconds by the clock, and CPU seconds of all processes, of one run."""
    with tempfile.TemporaryDirectory() as name:
        pid = os.fork()
        if not pid:  # a process of its own, whose children's times are told with its own
            try:
                do(source, Path(name) / "out", workers)
                os._exit(0)
            except BaseException as error:
                print(error, file=sys.stderr)
                os._exit(1)
        began = time.perf_counter()
        _, status, used = os.wait4(pid, 0)
        if status:
            raise SystemExit("the run failed")
        return time.perf_counter() - began, used.ru_utime + used.ru_stime


def peak(images: int) -> int:
    """Bytes of the largest process of a command over so many tiny images, laid out as ILSVRC's training images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny(folder / "in" / "ILSVRC2012_img_train.tar", images)
        code = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        command = ["-m", "netspec", "data", "prepare", str(folder / "in"), str(folder / "out"), "--size", "16"]
        done = subprocess.run([sys.executable, "-c", code, sys.executable, *command], check=True, capture_output=True)
        return int(done.stdout) * 1024


def tiny(path: Path, images: int) -> None:
    """An archive of 1000 archives, each of a class, of so many 20 x 16 JPEGs altogether, or the next thousand."""
    path.parent.mkdir(parents=True)
    file = io.BytesIO()
    Image.new("RGB", (20, 16)).save(file, "JPEG")
    picture = file.getvalue()
    with tarfile.open(path, "w") as outer:
        for number in range(1000):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as archive:
                for i in range(-(-images // 1000)):
                    _add(archive, f"n{number:08}_{i}.JPEG", picture)
            _add(outer, f"n{number:08}.tar", inner.getvalue())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def rows(found: dict[str, list[tuple[float, float]]], images: int) -> list[dict[str, Any]]:
    """One row a way of doing it; ratios are to the baseline of the same round."""
    base = [clock for clock, _ in found[BASELINE]]
    return [
        {
            "way": way,
            "per_second": images / float(np.median([clock for clock, _ in results])),
            "per_cpu_second": images / float(np.median([cpu for _, cpu in results])),
            "faster_by": float(np.median([its / clock for (clock, _), its in zip(results, base, strict=True)])),
        }
        for way, results in found.items()
    ]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6000, help="how many JPEGs are prepared (default 6000)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--tiny", type=int, nargs=2, default=(20_000, 200_000), help="sizes of the sets for memory")
    parser.add_argument("--json", type=Path, help="write the table there too, for machines")
    options = parser.parse_args()
    workers = len(os.sched_getaffinity(0))
    ways = {BASELINE: by_pillow, "netspec data prepare": by_netspec}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        what = originals(Path(name), options.images)
        for _ in range(options.rounds):
            for way, do in ways.items():
                found[way].append(timed(do, Path(name), workers))
    result = {
        **circumstances(),
        "images": f"{options.images:,} {what}",
        "workers": workers,
        "rounds": options.rounds,
        "rows": rows(found, options.images),
        "peaks": {str(images): peak(images) for images in options.tiny},
    }
    print("\n".join(tables.prepare(result)))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
