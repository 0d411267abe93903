"""What AlexNet loses in several processes, on one machine: one process with two devices against two of one core each.

    python benchmarks/processes_cpu.py --json benchmarks/results/processes-cpu.json
    python benchmarks/processes_cpu.py --quick

All take turns in each round, and whoever waits for its turn sleeps. A batch is 128 images, in two replicas where two
processes share it. "TCP" is the same over the loopback device, as between two machines, by MPICH's own switches. Four
replicas have 128 images each, in one process: the ratio is of images a second. An exchange is what the processes do to
sum all gradients when neither has anything else to do, beside an addition of as many numbers by both at the same time.
The last rows are whole commands of one iteration: what a second process adds to the start.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import tables
from alexnet_cpu import by_round, machine

ROOT = Path(__file__).resolve().parent.parent
BATCH = 128


class Setting(NamedTuple):
    """How AlexNet is trained: so many processes and replicas, the devices and what MPI is told."""

    processes: int
    replicas: int
    devices: str
    variables: tuple[tuple[str, str], ...] = ()
    batch: int = BATCH


TCP = (("MPIR_CVAR_CH4_NETMOD", "ofi"), ("MPIR_CVAR_NOLOCAL", "1"), ("FI_PROVIDER", "tcp"))
ONE, TWO, OVER_TCP, RANKS, FOUR = "two devices", "two processes", "two processes, TCP", "a device each", "four replicas"
SETTINGS = {
    ONE: Setting(1, 1, "cpu:0,cpu:1"),
    TWO: Setting(2, 2, "cpu"),
    OVER_TCP: Setting(2, 2, "cpu", TCP),
    RANKS: Setting(2, 1, "0/cpu:0,1/cpu:0"),
    FOUR: Setting(1, 4, "cpu:0,cpu:1", batch=4 * BATCH),
}
START = "quickstart"
"""Whose command of one iteration is timed."""


# One setting, in processes of its own --------------------------------------------------------------------------------


def serve(name: str, folder: Path) -> None:
    """Run iterations when told by the pipe that each rank has; rank 0 answers with what they took."""
    from netspec.runners.transport.opened import transport_of

    setting = SETTINGS[name]
    with transport_of() as transport:
        session, arrays = _session(setting, transport)
        with session:
            _train(session, arrays)
            _tell(transport, {})
            with (folder / f"{transport.rank}").open() as orders:
                for line in orders:
                    _tell(transport, _measured(session, arrays, transport, int(line)))


def _session(setting: Setting, transport: Any) -> tuple[Any, dict[str, Any]]:
    import numpy as np

    from netspec.runners.execution.session import Session
    from netspec.spec import load

    spec = load("alexnet", (f"replicas={setting.replicas}", f"train.batch={setting.batch}"))
    session = Session(spec, setting.devices.split(","), phases=("train",), transport=transport)
    random, images = np.random.default_rng(transport.rank), setting.batch // session.crew.groups
    image = random.integers(0, 256, (images, 224, 224, 3), dtype=np.uint8)
    return session, {"image": image, "label": random.integers(0, 1000, images).astype(np.int32)}


def _train(session: Any, arrays: dict[str, Any]) -> None:
    from netspec.runners.execution.session import Rates

    session.train(arrays, 0, len(arrays["label"]), Rates(1e-6, (0.9, 5e-4)))


def _measured(session: Any, arrays: dict[str, Any], transport: Any, iterations: int) -> dict[str, float]:
    """Seconds and CPU seconds of an iteration; of an exchange and of an addition, where replicas are shared."""
    found = {"seconds": 0.0, "cpu": 0.0}
    for _ in range(iterations):
        transport.gather(None)
        start, busy = time.perf_counter(), time.process_time()
        _train(session, arrays)
        found["seconds"] += (time.perf_counter() - start) / iterations
        found["cpu"] += (time.process_time() - busy) / iterations
    sums = [one.call for one in session.bound("train").steps if one.step.op == "all_reduce"]
    if sums:
        found |= {"exchange": _least(lambda: [call() for call in sums], transport), "addition": _addition(transport)}
    return found


def _addition(transport: Any) -> float:
    import numpy as np

    left, right = np.ones(60_965_224, np.float32), np.ones(60_965_224, np.float32)
    return _least(lambda: np.add(left, right, out=left), transport)


def _least(job: Any, transport: Any) -> float:
    seconds = []
    for _ in range(4):
        transport.gather(None)
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _tell(transport: Any, found: dict[str, float]) -> None:
    """The slowest rank's seconds, and the CPU seconds of all."""
    each = transport.gather(found)
    if transport.rank == 0:
        all_of = {key: [one[key] for one in each] for key in found}
        print(json.dumps({key: sum(of) if key == "cpu" else max(of) for key, of in all_of.items()}), flush=True)


# All in turn ---------------------------------------------------------------------------------------------------------


def launcher(processes: int) -> list[str]:
    """What stands before a command to run it in so many processes."""
    beside = Path(sys.executable).parent / "mpiexec"
    return [str(beside) if beside.exists() else "mpiexec", "-n", str(processes)] if processes > 1 else []


class Group:
    """The running processes of a setting, and what they measured."""

    def __init__(self, name: str, folder: Path) -> None:
        self.setting, self.answers = SETTINGS[name], list[dict[str, float]]()
        folder.mkdir()
        pipes = [folder / str(rank) for rank in range(self.setting.processes)]
        for pipe in pipes:
            os.mkfifo(pipe)
        command = [sys.executable, __file__, "--serve", name, "--folder", str(folder)]
        paths = (str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH"))
        environment = {**os.environ, **dict(self.setting.variables), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [*launcher(self.setting.processes), *command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self._answer()
        self.pipes = [pipe.open("w") for pipe in pipes]

    def measure(self, iterations: int) -> None:
        """One round."""
        for pipe in self.pipes:
            print(iterations, file=pipe, flush=True)
        self.answers.append(self._answer())

    def of(self, key: str) -> list[float]:
        """A figure by round."""
        return [answer[key] for answer in self.answers]

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the processes of {self.setting} ended (exit code {self.process.wait()})")
        return json.loads(line)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the processes."""
        for pipe in self.pipes:
            pipe.close()
        self.process.wait()


def measure(names: list[str], rounds: int, iterations: int) -> list[dict[str, Any]]:
    """A row a setting; ratios to the first of them are of images a second, round by round."""
    with tempfile.TemporaryDirectory() as folder:
        groups = [Group(name, Path(folder, str(number))) for number, name in enumerate(names)]
        for number in range(rounds):
            for name, group in zip(names, groups, strict=True):
                group.measure(iterations)
                print(f"round {number + 1}: {name} {group.of('seconds')[-1]:.2f} s", file=sys.stderr, flush=True)
        for group in groups:
            group.close()
    return [_row(name, group, groups[0]) for name, group in zip(names, groups, strict=True)]


def _row(name: str, group: Group, first: Group) -> dict[str, Any]:
    batch, images = group.setting.batch, group.setting.batch / first.setting.batch
    row: dict[str, Any] = {
        "setting": name,
        "images_per_second": batch / statistics.median(group.of("seconds")),
        "ratios": [images * ratio for ratio in by_round(first.of("seconds"), group.of("seconds"))],
        "cpu_ratio": images * min(first.of("cpu")) / min(group.of("cpu")),
    }
    if "exchange" in group.answers[0]:
        additions = by_round(group.of("exchange"), group.of("addition"))
        row |= {"exchange": min(group.of("exchange")), "additions": additions}
    return row


def starts(rounds: int) -> dict[str, list[float]]:
    """Seconds of a command in one process and in two, in turn; the first of each finds no compiled kernels perhaps."""
    found: dict[str, list[float]] = {"one": [], "two": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(1 + rounds):
            for name, more in (("one", []), ("two", ["--processes", "2"])):
                words = [START, "--set", "replicas=2", "--iterations", "1", "--devices", "cpu", "--out", folder, *more]
                begun = time.perf_counter()
                environment = {**os.environ, "PYTHONPATH": str(ROOT)}
                command = [sys.executable, "-m", "netspec", "run", *words]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
                found[name].append(time.perf_counter() - begun)
    return {name: seconds[1:] for name, seconds in found.items()}


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=1, help="of each setting in a round (default 1)")
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", choices=SETTINGS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.folder)
        return
    rounds, load = 1 if arguments.quick else arguments.rounds, os.getloadavg()[0]
    rows = measure(arguments.settings, rounds, arguments.iterations)
    result = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "rounds": rounds, "load": load, "rows": rows}
    result["starts"] = starts(rounds)
    print("\n".join(tables.processes(result)))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
