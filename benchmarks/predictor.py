"""What a call of a predictor costs beside the net itself: milliseconds, the median over many calls.

    python benchmarks/predictor.py                   # alexnet and quickstart, untrained, one image and 32 at a time

A call checks its array, takes it to the devices and hands back probabilities that are finite. The net's time is that
from the start of the devices' work on it to its end, in the same call; all the rest is overhead.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import netspec


def main() -> None:
    """Measure and print a line for each network and number of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--specs", nargs="+", default=["alexnet", "quickstart"], help="default: alexnet quickstart")
    parser.add_argument("--images", nargs="+", type=int, default=[1, 32], help="images a call (default 1 and 32)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of measuring, for each line (default 20)")
    parser.add_argument("--devices", help="as netspec predict --devices takes them")
    options = parser.parse_args()
    print("| network | images | call, ms | net, ms | overhead, ms |\n|---|---|---|---|---|")
    for spec in options.specs:
        with tempfile.TemporaryDirectory() as out:
            sets = ["train.sgd.learning_rate=0", "train.schedule={type: constant}"]
            run = netspec.run(spec, out=Path(out), iterations=1, batch=16, overrides=sets, devices=options.devices)
            for images in options.images:
                call, net, overhead = measure(run, images, options.seconds, options.devices)
                print(f"| {spec} | {images} | {call:.2f} | {net:.2f} | {overhead:.3f} |", flush=True)


def measure(run: netspec.Run, images: int, seconds: float, devices: str | None) -> tuple[float, float, float]:
    """Milliseconds of a call, of the net in it, and of all else."""
    with netspec.predictor(run, batch=images, devices=devices, progress=False) as model:
        batch = np.random.default_rng(0).integers(0, 256, (images, *model.shape), np.uint8)
        model(batch)
        session, inside = model._session(images, None), Stopwatch()
        session.start = inside.around(session.start)  # type: ignore[method-assign]
        runner = session._runner("predict")
        runner.finish = inside.around(runner.finish)  # type: ignore[method-assign]
        rows, whole, end = [], Stopwatch(), time.perf_counter() + seconds
        while time.perf_counter() < end or len(rows) < 5:
            whole.milliseconds = inside.milliseconds = 0.0
            whole.around(model)(batch)
            rows.append((whole.milliseconds, inside.milliseconds))
    calls, nets = zip(*rows, strict=True)
    return statistics.median(calls), statistics.median(nets), statistics.median(a - b for a, b in rows)


class Stopwatch:
    """Adds up the time of calls."""

    milliseconds = 0.0

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return work(*given, **named)
            finally:
                self.milliseconds += 1e3 * (time.perf_counter() - begun)

        return timed


if __name__ == "__main__":
    main()
