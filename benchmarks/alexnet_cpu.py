"""AlexNet on CPUs: netspec against PyTorch, one process a system, taking turns.

    python benchmarks/alexnet_cpu.py                      # training, batch 128, 2 threads
    python benchmarks/alexnet_cpu.py --what inference --batch 32
    python benchmarks/alexnet_cpu.py --threads 1 --rounds 5 --json out.json

Each round every system runs its iterations in turn; the table shows medians, and the ratio is taken round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TORCH = ("torch eager", "torch channels_last", "torch fused SGD", "torch compiled, fused SGD")
SYSTEMS = ("netspec", "netspec one device", *TORCH)


# One system, in a process of its own -------------------------------------------------------------------------------


def serve(system: str, what: str, batch: int, threads: int) -> None:
    """Run iterations when asked on standard input; answer with seconds and the peak of resident memory."""
    start = time.perf_counter()
    make = _netspec if system.startswith("netspec") else _torch
    job = make(system, what, batch, threads)
    ready = time.perf_counter()
    job()
    _tell({"setup": ready - start, "first": time.perf_counter() - ready})
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            job()
        seconds = (time.perf_counter() - start) / int(line)
        _tell({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})


def _tell(answer: dict[str, float]) -> None:
    print(json.dumps(answer), flush=True)


def _netspec(system: str, what: str, batch: int, threads: int) -> Any:
    import numpy as np

    from netspec.device.cpu.device import CpuDevice
    from netspec.runners.session import Rates, Session
    from netspec.spec import load

    one = system.endswith("one device") or threads == 1
    spec = load("alexnet-one-device" if one else "alexnet")
    teams = [threads] if one else [threads // 2] * 2
    opener = lambda names: [CpuDevice(i, teams[i]) for i, _ in enumerate(names)]  # noqa: E731
    phase = "train" if what == "training" else "predict"
    devices = ["cpu:0"] if one else ["cpu:0", "cpu:1"]
    session = Session(spec, devices, batch=batch, eval_batch=batch, phases=(phase,), opener=opener)
    random = np.random.default_rng(0)
    arrays = {
        "image": random.integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8),
        "label": random.integers(0, 1000, batch).astype(np.int32),
    }
    if what == "inference":
        return lambda: session.predict(arrays, batch)
    rates = Rates(1e-6, 0.9, 5e-4)
    return lambda: session.train(arrays, 0, batch, rates)


def _torch(system: str, what: str, batch: int, threads: int) -> Any:
    import torch
    from torch_alexnet import MODES, TorchTrainer

    torch.set_num_threads(threads)
    trainer = TorchTrainer(batch, **MODES[system])
    if what == "inference":
        trainer.net.eval()
        return trainer.infer
    return trainer.step


# All systems in turn -----------------------------------------------------------------------------------------------


class System:
    """A running process and what it measured."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        self.name = name
        command = [sys.executable, __file__, "--serve", name, "--what", arguments.what]
        command += ["--batch", str(arguments.batch), "--threads", str(arguments.threads)]
        limit = str(arguments.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": limit, "PYTHONPATH": f"{HERE.parent}:{HERE}"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.start = self._answer()
        self.times: list[float] = []
        self.peak = 0.0

    def measure(self, iterations: int) -> None:
        """One round."""
        assert self.process.stdin is not None
        print(iterations, file=self.process.stdin, flush=True)
        answer = self._answer()
        self.times.append(answer["seconds"])
        self.peak = answer["peak"]

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the process ended (exit code {self.process.wait()})")
        return json.loads(line)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(arguments: argparse.Namespace) -> list[System]:
    """Start every system, then let them take turns."""
    systems = []
    for name in arguments.systems or SYSTEMS:
        print(f"starting {name}", file=sys.stderr, flush=True)
        systems.append(System(name, arguments))
    for number in range(arguments.rounds):
        for system in systems:
            system.measure(arguments.iterations)
            print(f"round {number + 1}: {system.name} {system.times[-1]:.2f} s", file=sys.stderr, flush=True)
    for system in systems:
        system.close()
    return systems


def report(systems: list[System], arguments: argparse.Namespace) -> dict[str, Any]:
    """Rows for people and for a file: medians, and ratios of the first system round by round."""
    first = systems[0]
    rows = []
    for system in systems:
        ratios = [theirs / ours for ours, theirs in zip(first.times, system.times, strict=True)]
        rows.append(
            {
                "system": system.name,
                "images_per_second": arguments.batch / statistics.median(system.times),
                "best": arguments.batch / min(system.times),
                "ratio": statistics.median(ratios),
                "peak_bytes": system.peak,
                "setup_seconds": system.start["setup"],
                "first_iteration_seconds": system.start["first"],
            }
        )
    return {"machine": machine(), "arguments": vars(arguments), "rows": rows}


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    names = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    versions = {}
    for package in ("numpy", "numba", "torch"):
        try:
            versions[package] = __import__(package).__version__
        except ImportError:
            versions[package] = "absent"
    return {"cpu": names[0] if names else platform.processor(), "cores": os.cpu_count(), **versions}


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def show(result: dict[str, Any]) -> None:
    """The table."""
    arguments = result["arguments"]
    print(", ".join(f"{key} {value}" for key, value in result["machine"].items()))
    print(f"AlexNet {arguments['what']}, batch {arguments['batch']}, {arguments['threads']} threads")
    first = result["rows"][0]["system"]
    print(f"\n| system | img/s, median | best | {first} is faster by | peak memory | first iteration |")
    print("|---|---|---|---|---|---|")
    for row in result["rows"]:
        print(
            f"| {row['system']} | {row['images_per_second']:.2f} | {row['best']:.2f} | {row['ratio']:.2f} "
            f"| {row['peak_bytes'] / 2**30:.2f} GiB | {row['setup_seconds'] + row['first_iteration_seconds']:.1f} s |"
        )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("training", "inference"), default="training")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", choices=SYSTEMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.what, arguments.batch, arguments.threads)
        return
    result = report(measure(arguments), arguments)
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
