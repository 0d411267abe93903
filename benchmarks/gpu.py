"""netspec on a GPU, in one command of under nine minutes, from a bare checkout and without the network.

    PYTHONPATH=. python benchmarks/gpu.py OUT                    # writes OUT/report.json and OUT/report.md
    PYTHONPATH=. python benchmarks/gpu.py OUT --sections graphs launches steps

Data is generated. A section that fails is recorded with what it raised, and the next goes on; the report is written
after each. Where PyTorch is installed its figures, taken in the same run, stand beside ours.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
if Path("/usr/local/cuda/nvvm").is_dir():  # a toolkit beside Python's packages: numba-cuda looks where this points
    os.environ.setdefault("CUDA_HOME", "/usr/local/cuda")

Section = Callable[[], dict[str, Any]]


def sections(options: argparse.Namespace, done: Mapping[str, Mapping[str, Any]], end: float) -> dict[str, Section]:
    """What is measured, in order; a later section may use what an earlier one found."""
    from gpu_parts import network, questions, rivals

    from netspec.device.binding import open_device

    device = open_device("cuda:0")
    batch, one, two = options.batch, options.one_device, options.two_devices

    def until(share: float) -> float:
        return time.perf_counter() + share * max(0.0, end - time.perf_counter())

    def ceilings() -> network.Ceilings:
        copy, product = done.get("ceilings", {}), done.get("torch, products", {})
        return network.Ceilings(copy.get("copy_GBs"), product.get("float32_TFLOPs"))

    return {
        "machine": questions.machine,
        "architecture": lambda: questions.architecture(device),
        "graphs": lambda: questions.graphs(device),
        "launches": lambda: questions.launches(device),
        "ceilings": lambda: questions.ceilings(device),
        "torch, products": rivals.products,
        "right": lambda: network.right(options.check, 16),
        "steps": lambda: network.steps(one, batch, ceilings(), until(0.4)),
        "training, one device": lambda: network.iterations(one, batch, "cuda:0", "local", 10),
        "training, two devices on one card": lambda: network.iterations(two, batch, "cuda:0,cuda:0", "local", 10),
        "training, two devices, serial": lambda: network.iterations(two, batch, "cuda:0,cuda:0", "serial", 10),
        "torch, convolutions": lambda: rivals.convolutions(batch),
        "torch, training": lambda: rivals.training(batch, until(0.5)),
        "training, large batch": lambda: network.iterations(one, options.large_batch, "cuda:0", "local", 10),
        "torch, training, large batch": lambda: rivals.training(options.large_batch, until(0.6)),
    }


def main() -> int:
    """Parse the command line, run the sections, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=Path("gpu-report"), help="folder of the report")
    parser.add_argument("--sections", nargs="*", help="only those whose names begin so")
    parser.add_argument("--seconds", type=float, default=480.0, help="no section begins later than this")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--large-batch", type=int, default=1024)
    parser.add_argument("--one-device", default="alexnet-one-device", help="spec whose steps are timed")
    parser.add_argument("--two-devices", default="alexnet", help="spec with two devices")
    parser.add_argument("--check", default="cifar10-quick", help="spec that is compared with CPUs")
    options = parser.parse_args()
    if (remark := _no_gpu()) is not None:
        print(remark)
        return 0
    return _run(options)


def _no_gpu() -> str | None:
    from netspec.device.gpus import gpus, obstacle, simulated

    if not gpus() and not simulated():
        return "no NVIDIA GPU is found: nothing to measure"
    return obstacle()


def _run(options: argparse.Namespace) -> int:
    from gpu_parts import report

    end, done = time.perf_counter() + options.seconds, {}
    for name, section in sections(options, done, end).items():
        if options.sections and not any(name.startswith(wanted) for wanted in options.sections):
            continue
        start = time.perf_counter()
        done[name] = _attempt(section) if start < end else {"failed": "no time left"}
        done[name]["seconds"] = round(time.perf_counter() - start, 1)
        report.write(options.out, done)
        print(f"{name}: {done[name].get('answer') or done[name].get('failed') or 'done'}", flush=True)
    print("\n".join(report.answers(done)), f"report: {options.out}/report.md", sep="\n")
    return 1 if any("failed" in section for section in done.values()) else 0


def _attempt(section: Section) -> dict[str, Any]:
    try:
        return section()
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


if __name__ == "__main__":
    sys.exit(main())
