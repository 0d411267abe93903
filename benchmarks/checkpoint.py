"""What a checkpoint costs AlexNet's training: how long it stands still, how much slower it is, when the file is there.

    python benchmarks/checkpoint.py                       # batch 128, into the system's temporary folder
    python benchmarks/checkpoint.py --folder runs --rounds 5 --json out.json

Rounds of two: an iteration by itself, then iterations from the start of a checkpoint until its file is on disk, synced.
Beside it the time of a copy made while training stands still, which is what training would wait for otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np

from netspec.events import CheckpointWritten
from netspec.machine.environment import processor
from netspec.runners.execution.session import Rates, Session
from netspec.runners.training.checkpoint import Record
from netspec.runners.training.saver import Saver
from netspec.spec import canonical, load
from netspec.spec.types import Spec

RATES = Rates(1e-6, (0.9, 5e-4))


def record(spec: Spec, iteration: int) -> Record:
    """A record as a run of AlexNet has it."""
    given = canonical(spec)
    classes = tuple(f"n{number:08}" for number in range(1000))
    return Record(iteration, 0, iteration, spec.train.seed, spec.train.batch, classes, given, given, {})


class Trial:
    """AlexNet on two CPU devices, random images, and a Saver."""

    def __init__(self, folder: Path, batch: int) -> None:
        self.spec, self.batch, self.iteration = load("alexnet"), batch, 0
        self.session = Session(self.spec, ["cpu:0", "cpu:1"], batch=batch, phases=("train",))
        self.saver = Saver(folder, self.session.store, keep=1)
        random = np.random.default_rng(0)
        self.arrays = {
            "image": random.integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8),
            "label": random.integers(0, 1000, batch).astype(np.int32),
        }

    def train(self) -> float:
        """Seconds of an iteration."""
        began = time.perf_counter()
        self.session.train(self.arrays, self.iteration, self.batch, RATES)
        self.iteration += 1
        return time.perf_counter() - began

    def copy(self) -> float:
        """Seconds of a copy while nothing else goes on."""
        began = time.perf_counter()
        self.session.store.tensors()
        return time.perf_counter() - began

    def save(self) -> tuple[CheckpointWritten, list[float]]:
        """A checkpoint, and the iterations from its start until it was on disk."""
        self.saver.save(record(self.spec, self.iteration))
        iterations, events = [self.train()], self.saver.poll()
        while not events:
            iterations.append(self.train())
            events = self.saver.poll()
        return events[0], iterations


def measure(folder: Path, batch: int, rounds: int) -> dict[str, Any]:
    """The figures, each the median of all rounds."""
    trial = Trial(folder, batch)
    trial.train()
    copies, plain, saved = [], [], []
    for _ in range(rounds):
        copies.append(trial.copy())
        plain.append(trial.train())
        saved.append(trial.save())
    trial.session.close()
    usual = statistics.median(plain)
    return {
        "bytes": saved[0][0].nbytes,
        "iteration_seconds": usual,
        "copy_standing_still_seconds": statistics.median(copies),
        "stall_seconds": statistics.median(event.stall for event, _ in saved),
        "longest_stall_seconds": max(event.stall for event, _ in saved),
        "on_disk_after_seconds": statistics.median(event.seconds for event, _ in saved),
        "slower_by_seconds": statistics.median(sum(times) - usual * len(times) for _, times in saved),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the checkpoints are written")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(Path(folder), options.batch, options.rounds)
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):30} {value:9.3f}")
    if options.json:
        versions = {"numpy": np.__version__, "numba": numba.__version__, "python": platform.python_version()}
        machine = {"cpu": processor(), "cores": os.cpu_count(), **versions}
        arguments = {"batch": options.batch, "rounds": options.rounds}
        options.json.write_text(json.dumps({"machine": machine, "arguments": arguments, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
