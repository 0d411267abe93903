"""Whole runs on the card: seconds until a network errs no more than so often, images a second from JPEGs."""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import netspec
from netspec.events import EvaluationDone, IterationDone, RunStarted

JPEGS, SIZE = 8192, 256


def to_an_error(name: str, target: float, seconds: float, data: Path | None, precision: str) -> dict[str, Any]:
    """Train until the validation error is ``target`` or less; the run is stopped then, or after so many seconds.

    Without ``data`` the pictures are drawn, and easier than photographs: the time stands for the machinery alone.
    """
    watch = _Watch(target, time.perf_counter() + seconds)
    chosen = (f"train.precision={precision}",)
    with tempfile.TemporaryDirectory() as folder:
        netspec.run(name, data=data, devices="cuda", out=folder, overrides=chosen, listener=watch)
    told = {
        "network": name,
        "images": str(data) if data else "generated",
        "target_error": target,
        "seconds_to_it": watch.reached and watch.reached - watch.began,
        "error": watch.error,
        "iterations": watch.iterations,
        "share_of_time_waiting_for_images": watch.waited / max(watch.trained, 1e-9),
    }
    found = f"{told['seconds_to_it']:.1f} s" if watch.reached else f"not reached in {seconds:.0f} s: {watch.error}"
    return {"answer": f"{name} on {told['images']} images errs in {target:.0%} or less: {found}", **told}


def from_jpegs(
    name: str, precision: str, devices: str = "cuda:0", images: int = JPEGS, skip: int = 64
) -> dict[str, Any]:
    """Train from JPEGs in class folders for three epochs, with all that the spec does to images.

    The rate is that of iterations after the first ``skip``, between which nothing is compiled, evaluated or saved.
    """
    taken: list[IterationDone] = []

    def hear(event: Any) -> None:
        if isinstance(event, IterationDone):
            taken.append(event)

    chosen = (f"train.precision={precision}", "layers.fc8.units=1000")
    with tempfile.TemporaryDirectory() as folder:
        bytes_each = _draw(Path(folder), images)
        out = f"{folder}/runs"
        netspec.run(name, data=folder, devices=devices, epochs=3, out=out, overrides=chosen, listener=hear)
    steady = taken[skip:]
    done = sum(event.images_per_second * event.seconds for event in steady)
    rate = done / sum(event.seconds for event in steady)
    wait, cores = statistics.mean(event.waited for event in steady), len(os.sched_getaffinity(0))
    what = f"{name} from {images:,} JPEGs of {SIZE} x {SIZE}, {bytes_each / 1e3:.1f} kB each, in {precision}"
    return {
        "answer": f"{what}: {rate:,.0f} images a second with {cores} cores, waiting for data {wait:.1%}",
        "network": name,
        "images_per_second": rate,
        "share_of_time_waiting_for_images": wait,
        "cores": cores,
        "bytes_of_an_image": bytes_each,
        "iterations": len(taken),
    }


def _draw(folder: Path, images: int) -> float:
    """Fill folder/train with class folders, folder/val with an image a class; returns the mean bytes of an image."""
    with ProcessPoolExecutor() as pool:
        sizes = list(pool.map(partial(_draw_one, folder / "train"), range(images), chunksize=64))
        list(pool.map(partial(_draw_one, folder / "val"), range(10)))
    return statistics.mean(sizes)


def _draw_one(folder: Path, number: int) -> int:
    """Coarse blobs and fine noise: as many bytes as a photograph has as a JPEG of quality 90, 24 kB."""
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).resize((SIZE, SIZE))
    pixels = np.asarray(coarse) + random.normal(0, 8, (SIZE, SIZE, 3))
    path = folder / str(number % 10) / f"{number:05}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path.stat().st_size


class _Watch:
    """Listens to a run and ends it by a signal, as a person would, when there is no more to learn from it."""

    def __init__(self, target: float, end: float) -> None:
        self.target, self.end = target, end
        self.began = self.waited = self.trained = 0.0
        self.reached: float | None = None
        self.error: float | None = None
        self.iterations, self.stopped = 0, False

    def __call__(self, event: Any) -> None:
        now = time.perf_counter()
        if isinstance(event, RunStarted):
            self.began = now
        elif isinstance(event, IterationDone):
            self.iterations = event.iteration
            self.waited, self.trained = self.waited + event.waited * event.seconds, self.trained + event.seconds
        elif isinstance(event, EvaluationDone):
            self.error = event.errors["top1"]
            if self.error <= self.target:
                self.reached = self.reached or now
        if (self.reached or now > self.end) and not self.stopped:
            self.stopped = True
            signal.raise_signal(signal.SIGTERM)
