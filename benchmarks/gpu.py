"""netspec on a GPU, in one command of under nine minutes, from a bare checkout and without the network.

    PYTHONPATH=. python benchmarks/gpu.py OUT                    # writes OUT/report.json, OUT/report.md, OUT/log.txt
    PYTHONPATH=. python benchmarks/gpu.py OUT --minutes 3        # the most telling of it
    PYTHONPATH=. python benchmarks/gpu.py OUT --sections "training, bf16" "torch, bf16" steps
    PYTHONPATH=. python benchmarks/gpu.py OUT --data CIFAR10     # folders of images, as specs/cifar10-quick.yaml says

Data is generated. Sections run in a process of their own, which is ended when it has not answered in time and made anew
after a fault: what goes wrong is recorded with the end of its log, and the next section goes on. The report is written
after each. Where PyTorch is installed its best modes, measured in the same run, stand beside ours: they compile while
our kernels do, and stand still while anything is timed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
if Path("/usr/local/cuda/nvvm").is_dir():  # a toolkit beside Python's packages: numba-cuda looks where this points
    os.environ.setdefault("CUDA_HOME", "/usr/local/cuda")

Found = dict[str, Any]
GRACE_S = 40.0
"""How long the section may take that runs when the time is up."""


def main(arguments: Sequence[str]) -> int:
    """Parse the command line, run the sections, write the report; 1 where something failed or cannot be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=Path("gpu-report"), help="folder of the report")
    parser.add_argument("--sections", nargs="*", help="only those whose names begin so, and the machine")
    parser.add_argument("--minutes", type=float, default=8.0, help="no section begins later than this")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--large-batch", type=int, default=1024)
    parser.add_argument("--one-device", default="alexnet-one-device", help="spec whose steps are timed")
    parser.add_argument("--two-devices", default="alexnet", help="spec with two devices")
    parser.add_argument("--check", default="cifar10-quick", help="spec that is compared with CPUs")
    parser.add_argument("--learns", default="quickstart", help="spec that is trained until it errs little")
    parser.add_argument("--target", type=float, default=0.02, help="how little")
    parser.add_argument("--data", type=Path, help="CIFAR-10, on which cifar10-quick is then trained to 26 %%")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        return _serve(options)
    if not _has_gpu():
        from netspec.device.gpus import fault

        print(f"no NVIDIA GPU is found: {fault() or 'nothing to measure'}")
        return 0 if fault() is None else 1
    return _run(options, arguments)


def _serve(options: argparse.Namespace) -> int:
    from gpu_parts.sections import sections
    from gpu_parts.worker import serve

    def answer(name: str, done: Mapping[str, Found], left: float) -> Found:
        return _attempt(lambda: sections(options, done, time.perf_counter() + left)[name].measure())

    serve(answer)
    return 0


def _has_gpu() -> bool:
    from netspec.device.gpus import gpus

    return bool(gpus())


def _obstacle() -> str | None:
    """Why nothing can be measured although there is a card, in a line that says what to bring."""
    from gpu_parts import machine

    from netspec.device.gpus import obstacle

    lacking = machine.missing()
    return f"Python packages are missing: {' '.join(lacking)}" if lacking else obstacle()


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from gpu_parts import machine, report

    options.out.mkdir(parents=True, exist_ok=True)
    if (remark := _obstacle()) is not None:
        report.write(options.out, {"machine": {"failed": remark, **machine.describe()}})
        print(f"{remark}\nwhat there is: {options.out}/report.md")
        return 1
    done = _measured(options, [sys.executable, str(Path(__file__).resolve()), *arguments, "--worker"])
    print("\n".join(report.answers(done)), f"report: {options.out}/report.md", sep="\n")
    return 1 if any("failed" in section for section in done.values()) else 0


def _measured(options: argparse.Namespace, command: Sequence[str]) -> dict[str, Found]:
    from gpu_parts import compare, report
    from gpu_parts.sections import sections

    end, done = time.perf_counter() + 60 * options.minutes, {}
    wanted = {
        name: section
        for name, section in sections(options, done, end).items()
        if name == "machine" or not options.sections or name.startswith(tuple(options.sections))
    }
    places = _Places(options, command, [name for name, section in wanted.items() if section.where == "rival"])
    try:
        for name, section in wanted.items():
            done[name] = _timed(name, section, places, done, end)
            report.write(options.out, {**done, **compare.all_of(done, options.one_device)})
            print(f"{name}: {done[name].get('answer') or done[name].get('failed') or 'done'}", flush=True)
    finally:
        places.close()
    return {**done, **compare.all_of(done, options.one_device)}


class _Places:
    """The processes in which sections run."""

    def __init__(self, options: argparse.Namespace, command: Sequence[str], rivals: Sequence[str]) -> None:
        from gpu_parts.rivals import Rivals
        from gpu_parts.sections import rivals as modes
        from gpu_parts.worker import Worker

        log = options.out / "log.txt"
        self._workers = {where: Worker(command, log) for where in ("ours", "torch")}
        chosen = {name: mode for name, mode in modes(options).items() if name in rivals}
        self._rivals = Rivals(chosen, log.with_name("rivals.txt"))

    def measure(self, name: str, section: Any, done: Mapping[str, Found], left: float) -> Found:
        limit = min(section.seconds, left + GRACE_S)
        if section.where == "rival":
            return self._rivals.measure(name, limit)
        with self._rivals.paused() if section.timed else nullcontext():
            if section.where == "here":
                return _attempt(section.measure)
            return self._workers[section.where].ask(name, done, left, limit)

    def close(self) -> None:
        for one in (self._rivals, *self._workers.values()):
            one.close()


def _timed(name: str, section: Any, places: _Places, done: Mapping[str, Found], end: float) -> Found:
    start = time.perf_counter()
    if start >= end:
        return {"failed": "no time left"}
    if all("failed" in done.get(first, {}) for first in ("architecture", "graphs")):
        return {"failed": "not tried, as no kernel ran before: see the first sections"}
    found = places.measure(name, section, done, end - start)
    return {**found, "seconds": round(time.perf_counter() - start, 1)}


def _attempt(measure: Callable[[], Found]) -> Found:
    try:
        return measure()
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
