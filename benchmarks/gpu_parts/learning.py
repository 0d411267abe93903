"""Whole runs on the card: seconds until a network errs no more than so often."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import netspec
from netspec.events import EvaluationDone, IterationDone, RunStarted


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
