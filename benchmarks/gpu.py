"""netspec on a GPU, in one command of under nine minutes, from a bare checkout and without the network.

    PYTHONPATH=. python benchmarks/gpu.py OUT                    # writes OUT/report.json and OUT/report.md
    PYTHONPATH=. python benchmarks/gpu.py OUT --sections graphs launches steps
    PYTHONPATH=. python benchmarks/gpu.py OUT --data CIFAR10     # folders of images, as specs/cifar10-quick.yaml says

Data is generated. A section that fails is recorded with what it raised, and the next goes on; the report is written
after each. Where PyTorch is installed its figures, taken in the same run, stand beside ours. Where specs know
``train.cuda.precision``, sections are run once for each precision.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
if Path("/usr/local/cuda/nvvm").is_dir():  # a toolkit beside Python's packages: numba-cuda looks where this points
    os.environ.setdefault("CUDA_HOME", "/usr/local/cuda")

Section = Callable[[], dict[str, Any]]


def sections(options: argparse.Namespace, done: Mapping[str, Mapping[str, Any]], end: float) -> dict[str, Section]:
    """What is measured, in order; a later section may use what an earlier one found."""
    from gpu_parts import compare, learning, network, outside, questions, rivals
    from gpu_parts.network import iterations as train

    from netspec.device.binding import open_device

    device = open_device("cuda:0")
    batch, large, one, two = options.batch, options.large_batch, options.one_device, options.two_devices
    modes = network.precisions(one)

    def left(share: float) -> float:
        return share * max(0.0, end - time.perf_counter())

    def ceilings() -> network.Ceilings:
        found = {key.removesuffix("_TFLOPs"): value for key, value in done.get("torch, products", {}).items()}
        products = {key: value for key, value in found.items() if key in network.PRECISIONS}
        return network.Ceilings(done.get("ceilings", {}).get("copy_GBs"), products)

    def steps(mode: str | None) -> dict[str, Any]:
        return network.steps(one, batch, mode, ceilings(), time.perf_counter() + left(0.15))

    def learn() -> dict[str, Any]:
        name, target = ("cifar10-quick", 0.26) if options.data else (options.learns, options.target)
        return learning.to_an_error(name, target, min(60.0, left(0.5)), options.data, modes[-1])

    return {
        "machine": questions.machine,
        "architecture": lambda: questions.architecture(device),
        "graphs": lambda: questions.graphs(device),
        "launches": lambda: questions.launches(device),
        "iteration": lambda: questions.iteration(train(options.check, 16, "cuda", None)),
        "ceilings": lambda: questions.ceilings(device),
        "torch, products": rivals.products,
        "right": lambda: network.right(options.check, 16),
        **{_named("training", mode): partial(train, one, batch, "cuda:0", mode) for mode in modes},
        "training, two devices on one card": lambda: train(two, batch, "cuda:0,cuda:0", modes[-1]),
        "torch, training": lambda: outside.torch_training(batch, min(110.0, left(0.35))),
        "torch, convolutions": lambda: rivals.convolutions(batch),
        **{_named("steps", mode): partial(steps, mode) for mode in modes},
        "convolutions": lambda: compare.convolutions(done),
        "training, large batch": lambda: train(one, large, "cuda:0", modes[-1]),
        "torch, training, large batch": lambda: outside.torch_training(large, min(30.0, left(0.3)), "channels last"),
        "against PyTorch": lambda: compare.training(done, one),
        "training, two devices, serial": lambda: train(two, batch, "cuda:0,cuda:0", modes[-1], runner="serial"),
        "learns": learn,
        "curves": lambda: network.curves(options.check, 16),
        "tests": lambda: outside.tests(min(120.0, left(0.7))),
        "sanitizer": lambda: outside.sanitizer(min(60.0, left(0.9))),
    }


def _named(section: str, mode: str | None) -> str:
    return section if mode is None else f"{section}, {mode}"


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
    parser.add_argument("--learns", default="quickstart", help="spec that is trained until it errs little")
    parser.add_argument("--target", type=float, default=0.02, help="how little")
    parser.add_argument("--data", type=Path, help="CIFAR-10, on which cifar10-quick is then trained to 26 %%")
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
