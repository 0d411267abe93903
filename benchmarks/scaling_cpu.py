"""How a CPU device's team scales: AlexNet's steps on one device, with a team of one thread and one of two, in turn.

    python benchmarks/scaling_cpu.py --json benchmarks/results/scaling-cpu.json

The serial share is Amdahl's: what cannot be dealt out, were that all that keeps two threads from being twice as fast.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import tables
from alexnet_cpu import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from netspec.device.cpu.device import CpuDevice
from netspec.runners.execution.session import Rates, Session
from netspec.spec import load

RATES = Rates(1e-6, (0.9, 5e-4))


def open_session(team: int, batch: int, arrays: dict[str, Any]) -> Session:
    """AlexNet on one device whose team has so many threads, an iteration behind it."""
    opener = lambda names: [CpuDevice(index, team) for index, _ in enumerate(names)]  # noqa: E731
    spec = load("alexnet-one-device")
    session = Session(spec, ["cpu:0"], batch=batch, phases=("train",), runner="serial", opener=opener)
    session.train(arrays, 0, batch, RATES)
    return session


def times(session: Session) -> dict[str, float]:
    """Seconds of an iteration's steps by kind."""
    types = {shard.layer: shard.type for shard in session.plans["train"].shards}
    found: dict[str, float] = defaultdict(float)
    for one in session.bound("train").steps:
        start = time.perf_counter()
        one.call()
        step = one.step
        layer = f"{types[step.layer]} {step.op}" if step.layer else "update" if "update" in step.op else "other"
        found[layer] += time.perf_counter() - start
    return found


def measure(batch: int, rounds: int) -> list[dict[str, Any]]:
    """A row a kind of step, the iteration last; medians over rounds."""
    random = np.random.default_rng(0)
    arrays = {
        "image": random.integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8),
        "label": random.integers(0, 1000, batch).astype(np.int32),
    }
    sessions = [open_session(team, batch, arrays) for team in (1, 2)]
    found = [[times(session) for session in sessions] for _ in range(rounds)]
    for session in sessions:
        session.close()
    for pair in found:
        for kinds in pair:
            kinds["iteration"] = sum(kinds.values())
    return [
        {"kind": kind, **{n: statistics.median(pair[i][kind] for pair in found) for i, n in enumerate(("one", "two"))}}
        for kind in found[0][0]
    ]


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="two rounds of 32 images")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    batch, rounds = (32, 2) if arguments.quick else (arguments.batch, arguments.rounds)
    rows = measure(batch, rounds)
    date = time.strftime("%Y-%m-%d")
    result = {"date": date, "machine": machine(), "batch": batch, "rounds": rounds, "rows": rows}
    print("\n".join(tables.scaling(result)))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
