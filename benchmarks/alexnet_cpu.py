"""AlexNet on CPUs: netspec against PyTorch, one process a system, taking turns.

    python benchmarks/alexnet_cpu.py                      # training, batch 128, 2 threads
    python benchmarks/alexnet_cpu.py --what inference --batch 32
    python benchmarks/alexnet_cpu.py --threads 1 --rounds 5 --json out.json
    python benchmarks/alexnet_cpu.py --quick              # a few minutes

Each round every system runs its iterations in turn; the table shows medians, and ratios are taken round by round. The
least CPU time of an iteration says more where other work has the cores too, but for threads that wait awake. One more
process, in turn with the others, finds what the machine can do: a large matrix product, and reading memory.
Where the CPU multiplies bfloat16 (AVX512-BF16 or AMX), and for inference anywhere, both are measured in bf16 as well:
netspec's train.precision, PyTorch's autocast, and for inference its weights converted once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tables

HERE = Path(__file__).resolve().parent
NETSPEC = ("netspec", "netspec one device")
TORCH = ("torch eager", "torch channels_last", "torch fused SGD", "torch compiled, fused SGD")
OWN_BF16 = ("netspec bf16", "netspec bf16 one device")
TORCH_BF16 = ("torch bf16 eager", "torch bf16 channels_last, fused SGD", "torch bf16 compiled, fused SGD")
INFERENCE_ALONE, TRAINING_ALONE = ("torch bf16 weights, compiled",), ("torch fused SGD",)
SYSTEMS = (*NETSPEC, *TORCH, *OWN_BF16, *TORCH_BF16, *INFERENCE_ALONE)
QUICK = (*NETSPEC, "torch eager", "torch compiled, fused SGD", "netspec bf16", "torch bf16 compiled, fused SGD")
REFERENCES = ("netspec", "netspec bf16")
"""Whose times all others' are divided by, round by round, where they run."""
CHOOSING = ("NETSPEC_CPU_BF16", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
"""Variables that take features away or add some."""
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Of an x86 CPU, as Linux names them; the last two multiply bfloat16."""
MACHINE = "machine"
TRAINING_FLOPS = 6 * 724_406_816 - 2 * 105_415_200
"""An image's, forwards and backwards, without the image's gradient; convolutions counted as if done directly."""
WEIGHTS = 4 * 60_965_224
"""Bytes of parameters, all of which a batch of one image reads."""


# One system, in a process of its own -------------------------------------------------------------------------------


def serve(system: str, what: str, batch: int, threads: int) -> None:
    """Run iterations when asked on standard input; answer with seconds and the peak of resident memory."""
    start = time.perf_counter()
    make = _machine if system == MACHINE else _netspec if system.startswith("netspec") else _torch
    job = make(system, what, batch, threads)
    if isinstance(job, str):
        _tell({"absent": job})
        return
    ready = time.perf_counter()
    job()
    _tell({"setup": ready - start, "first": time.perf_counter() - ready})
    for line in sys.stdin:
        start, busy = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            found = job()
        seconds = (time.perf_counter() - start) / int(line)
        cpu = (time.process_time() - busy) / int(line)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        _tell({"seconds": seconds, "cpu": cpu, "peak": peak, **(found if system == MACHINE else {})})


def _tell(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def _netspec(system: str, what: str, batch: int, threads: int) -> Any:
    import numpy as np

    from netspec.device.cpu.device import CpuDevice
    from netspec.runners.execution.session import Rates, Session
    from netspec.spec import load

    one = system.endswith("one device") or threads == 1
    precision = "bf16" if system in OWN_BF16 else "float32"
    spec = load("alexnet-one-device" if one else "alexnet", (f"train.precision={precision}",))
    teams = [threads] if one else [threads // 2] * 2
    opener = lambda names: [CpuDevice(i, teams[i]) for i, _ in enumerate(names)]  # noqa: E731
    phase = "train" if what == "training" else "predict"
    devices = ["cpu:0"] if one else ["cpu:0", "cpu:1"]
    session = Session(spec, devices, batch=batch, eval_batch=batch, phases=(phase,), opener=opener)
    if precision == "bf16" and not any(step.compute == "bfloat16" for step in session.programs[phase].steps):
        return "; ".join(session.notes)
    random = np.random.default_rng(0)
    arrays = {
        "image": random.integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8),
        "label": random.integers(0, 1000, batch).astype(np.int32),
    }
    if what == "inference":
        return lambda: session.predict(arrays, batch)
    rates = Rates(1e-6, (0.9, 5e-4))
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


def _machine(system: str, what: str, batch: int, threads: int) -> Any:
    """FLOP a second of a large product by the fastest BLAS there is, bytes a second of reading, on all threads."""
    import numpy as np

    a = np.random.default_rng(0).standard_normal((3072, 3072), dtype=np.float32)
    c, parts = np.empty_like(a), np.array_split(np.ones(WEIGHTS // 4, np.float32), threads)
    products = [lambda: np.matmul(a, a, out=c)]
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(threads)
        left, out = torch.from_numpy(a), torch.from_numpy(c)
        products.append(lambda: torch.matmul(left, left, out=out))
    pool = ThreadPoolExecutor(threads)

    def read() -> None:
        list(pool.map(_read, parts))

    def job() -> dict[str, float]:
        flops = max(2 * 3072**3 / min(_seconds(one) for _ in range(3)) for one in products)
        return {"flops": flops, "read": WEIGHTS / min(_seconds(read) for _ in range(5))}

    return job


def _read(part: Any) -> None:
    """Sums of squares of short pieces: BLAS reads each number once, on the thread that calls."""
    for piece in range(0, len(part), 1 << 15):
        block = part[piece : piece + (1 << 15)]
        block.dot(block)


def _seconds(job: Any) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


# All systems in turn -----------------------------------------------------------------------------------------------


class System:
    """A running process and what it measured."""

    def __init__(self, name: str, arguments: argparse.Namespace, **variables: str) -> None:
        self.name = name
        command = [sys.executable, __file__, "--serve", name, "--what", arguments.what]
        command += ["--batch", str(arguments.batch), "--threads", str(arguments.threads)]
        limit = str(arguments.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": limit, **variables}
        paths = (str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH"))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.start: dict[str, Any] = self._answer()
        self.answers: list[dict[str, float]] = []

    def measure(self, iterations: int) -> None:
        """One round."""
        assert self.process.stdin is not None
        print(iterations, file=self.process.stdin, flush=True)
        self.answers.append(self._answer())

    @property
    def times(self) -> list[float]:
        """Seconds of an iteration, by round."""
        return [answer["seconds"] for answer in self.answers]

    @property
    def peak(self) -> float:
        """Bytes of memory that were resident at most."""
        return max(answer["peak"] for answer in self.answers)

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


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The systems asked for, or all that have something to show for this work on this CPU."""
    if arguments.systems:
        return list(arguments.systems)
    left_out = TRAINING_ALONE if arguments.what == "inference" else INFERENCE_ALONE
    if arguments.what == "training" and not {"avx512_bf16", "amx_bf16"} & set(features()):
        left_out += (*OWN_BF16, *TORCH_BF16)
    return [name for name in (QUICK if arguments.quick else SYSTEMS) if name not in left_out]


def measure(arguments: argparse.Namespace) -> list[System]:
    """Start every system, then let them take turns; one that cannot do what it is named for is left out."""
    systems = []
    for name in (*arguments.systems, MACHINE):
        print(f"starting {name}", file=sys.stderr, flush=True)
        system = System(name, arguments)
        if "absent" in system.start:
            print(f"{name} is left out: {system.start['absent']}", file=sys.stderr, flush=True)
        else:
            systems.append(system)
    for number in range(arguments.rounds):
        for system in systems:
            system.measure(1 if system.name == MACHINE else arguments.iterations)
            print(f"round {number + 1}: {system.name} {system.times[-1]:.2f} s", file=sys.stderr, flush=True)
    for system in systems:
        system.close()
    return systems


def report(systems: list[System], arguments: argparse.Namespace, load: float = 0.0) -> dict[str, Any]:
    """Rows for people and for a file: medians, and ratios of the references round by round.

    ``load`` is the machine's load average before the systems were started.
    """
    *systems, bounds = systems
    references = [system for system in systems if system.name in REFERENCES] or systems[:1]
    training = arguments.what == "training"
    least = [
        arguments.batch * TRAINING_FLOPS / answer["flops"] if training else WEIGHTS / answer["read"]
        for answer in bounds.answers
    ]
    rows = []
    for system in systems:
        row = {
            "system": system.name,
            "images_per_second": arguments.batch / statistics.median(system.times),
            "best": arguments.batch / min(system.times),
            "cpu_seconds": min(answer["cpu"] for answer in system.answers),
            "ratios": {one.name: by_round(system.times, one.times) for one in references},
            "peak_bytes": system.peak,
            "setup_seconds": system.start["setup"],
            "first_iteration_seconds": system.start["first"],
        }
        if training or arguments.batch == 1:
            row["share"] = statistics.median(by_round(least, system.times))
        rows.append(row)
    rates = {rate: statistics.median(answer[rate] for answer in bounds.answers) for rate in ("flops", "read")}
    variables = {name: os.environ[name] for name in CHOOSING if name in os.environ}
    found = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "variables": variables, "load": load}
    return {**found, "arguments": vars(arguments), "rates": rates, "rows": rows}


def by_round(above: list[float], below: list[float]) -> list[float]:
    """One's figure over another's, a ratio a round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    names = _cpuinfo("model name")
    versions = {}
    for package in ("numpy", "numba", "torch"):
        try:
            versions[package] = __import__(package).__version__
        except ImportError:
            versions[package] = "absent"
    cpu = names[0] if names else platform.processor()
    return {"cpu": cpu, "cores": os.cpu_count(), "features": features(), **versions}


def features() -> list[str]:
    """Those of FEATURES that the CPU has."""
    found = set(" ".join(_cpuinfo("flags")[:1]).split())
    return [name for name in FEATURES if name in found]


def _cpuinfo(name: str) -> list[str]:
    """What Linux says of each core."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [line.split(":")[1].strip() for line in lines if line.startswith(name)]


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("training", "inference"), default="training")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS)
    parser.add_argument("--quick", action="store_true", help="fewer systems, one round")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", choices=(*SYSTEMS, MACHINE), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.what, arguments.batch, arguments.threads)
        return
    if arguments.quick:
        arguments.rounds = 1
    arguments.systems, load = chosen(arguments), os.getloadavg()[0]
    result = report(measure(arguments), arguments, load)
    print("\n".join(tables.alexnet(result)))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
