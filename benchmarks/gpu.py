"""netspec on a GPU, in one command of under nine minutes, from a bare checkout and without the network.

    PYTHONPATH=. python benchmarks/gpu.py OUT                    # writes OUT/report.json, OUT/report.md, OUT/log.txt
    PYTHONPATH=. python benchmarks/gpu.py OUT --sections graphs launches steps
    PYTHONPATH=. python benchmarks/gpu.py OUT --data CIFAR10     # folders of images, as specs/cifar10-quick.yaml says

Data is generated. Sections run in a process of their own, which is ended when it has not answered in time and made anew
after a fault: what goes wrong is recorded with the end of its log, and the next section goes on. The report is written
after each. Where PyTorch is installed its figures, taken in the same run, stand beside ours. Where specs know
``train.cuda.precision``, sections are run once for each precision.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
if Path("/usr/local/cuda/nvvm").is_dir():  # a toolkit beside Python's packages: numba-cuda looks where this points
    os.environ.setdefault("CUDA_HOME", "/usr/local/cuda")

Found = dict[str, Any]
GRACE_S = 40.0
"""How long the section may take that runs when the time is up."""


class Section(NamedTuple):
    """What is measured; where: in a worker of ours, in PyTorch's, or here, what touches no card in its own process."""

    measure: Callable[[], Found]
    seconds: float = 90.0
    """The longest that its worker is waited for."""
    where: Literal["ours", "torch", "here"] = "ours"


def sections(options: argparse.Namespace, done: Mapping[str, Mapping[str, Any]], end: float) -> dict[str, Section]:
    """What is measured, in order; a later section may use what an earlier one found."""
    from gpu_parts import compare, kernels, learning, machine, network, outside, questions, rivals
    from gpu_parts.network import iterations as train

    batch, large, one, two = options.batch, options.large_batch, options.one_device, options.two_devices
    modes = network.precisions(one)
    tf32 = "tf32" if "tf32" in modes else None

    def left(share: float) -> float:
        return share * max(0.0, end - time.perf_counter())

    def ceilings() -> network.Ceilings:
        found = {key.removesuffix("_TFLOPs"): value for key, value in done.get("torch, products", {}).items()}
        products = {key: value for key, value in found.items() if key in network.PRECISIONS}
        return network.Ceilings(done.get("ceilings", {}).get("copy_GBs"), products)

    def steps(mode: str | None) -> Found:
        return network.steps(one, batch, mode, ceilings(), time.perf_counter() + left(0.15))

    def learn() -> Found:
        name, target = ("cifar10-quick", 0.26) if options.data else (options.learns, options.target)
        return learning.to_an_error(name, target, min(60.0, left(0.5)), options.data, modes[-1])

    def here(measure: Callable[[], Found]) -> Section:
        return Section(measure, where="here")

    found = {
        "machine": here(machine.describe),
        "architecture": Section(lambda: questions.architecture(_card())),
        "graphs": Section(lambda: questions.graphs(_card())),
        "launches": Section(lambda: questions.launches(_card())),
        "kernels": Section(lambda: kernels.compile_all(_card()), 110.0),
        "iteration": Section(lambda: questions.iteration(train(options.check, 16, "cuda", None))),
        "ceilings": Section(lambda: questions.ceilings(_card())),
        "torch, products": Section(rivals.products, where="torch"),
        **{_named("right", mode): Section(partial(network.right, options.check, 16, mode)) for mode in modes},
        **{_named("training", mode): Section(partial(train, one, batch, "cuda:0", mode)) for mode in modes},
        "training, two devices on one card": Section(lambda: train(two, batch, "cuda:0,cuda:0", modes[-1])),
        "torch, training": here(lambda: outside.torch_training(batch, min(150.0, left(0.3)))),
        "against PyTorch": here(lambda: compare.training(done, one)),
        "tests": here(lambda: outside.tests(min(150.0, left(0.45)))),
        **{_named("steps", mode): Section(partial(steps, mode), 120.0) for mode in modes},
        "torch, convolutions": Section(lambda: rivals.convolutions(batch), where="torch"),
        "convolutions": here(lambda: compare.convolutions(done)),
        _named("tuned", tf32): Section(lambda: network.tuned(one, batch, "cuda:0", tf32, min(90.0, left(0.35))), 180.0),
        "training, large batch": Section(lambda: train(one, large, "cuda:0", modes[-1])),
        "torch, training, large batch": here(
            lambda: outside.torch_training(large, min(30.0, left(0.3)), "channels last")
        ),
        "against PyTorch, both batches": here(lambda: compare.training(done, one)),
        "training, two devices, serial": Section(
            lambda: train(two, batch, "cuda:0,cuda:0", modes[-1], runner="serial")
        ),
        "learns": Section(learn, 120.0),
        "curves": Section(lambda: network.curves(options.check, 16)),
        "sanitizer": here(lambda: outside.sanitizer(min(60.0, left(0.9)))),
    }
    return {name: one for name, one in found.items() if find_spec("torch") or not name.startswith("torch")}


@cache
def _card() -> Any:
    from netspec.device.binding import open_device

    return open_device("cuda:0")


def _named(section: str, mode: str | None) -> str:
    return section if mode is None else f"{section}, {mode}"


def main(arguments: Sequence[str]) -> int:
    """Parse the command line, run the sections, write the report; 1 where something failed or cannot be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=Path("gpu-report"), help="folder of the report")
    parser.add_argument("--sections", nargs="*", help="only those whose names begin so, and the machine")
    parser.add_argument("--seconds", type=float, default=480.0, help="no section begins later than this")
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
    from gpu_parts import report
    from gpu_parts.worker import Worker

    options.out.mkdir(parents=True, exist_ok=True)
    end, done = time.perf_counter() + options.seconds, {}
    if (remark := _obstacle()) is not None:
        from gpu_parts import machine

        report.write(options.out, {"machine": {"failed": remark, **machine.describe()}})
        print(f"{remark}\nwhat there is: {options.out}/report.md")
        return 1
    command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--worker"]
    workers = {where: Worker(command, options.out / "log.txt") for where in ("ours", "torch")}
    try:
        for name, section in sections(options, done, end).items():
            if name == "machine" or not options.sections or name.startswith(tuple(options.sections)):
                done[name] = _measured(name, section, workers, done, end)
                report.write(options.out, done)
                print(f"{name}: {done[name].get('answer') or done[name].get('failed') or 'done'}", flush=True)
    finally:
        for worker in workers.values():
            worker.close()
    print("\n".join(report.answers(done)), f"report: {options.out}/report.md", sep="\n")
    return 1 if any("failed" in section for section in done.values()) else 0


def _measured(name: str, section: Section, workers: Mapping[str, Any], done: dict[str, Found], end: float) -> Found:
    start = time.perf_counter()
    if start >= end:
        return {"failed": "no time left"}
    if all("failed" in done.get(first, {}) for first in ("architecture", "graphs")):
        return {"failed": "not tried, as no kernel ran before: see the first sections"}
    if section.where == "here":
        found = _attempt(section.measure)
    else:
        limit = min(section.seconds, end - start + GRACE_S)
        found = workers[section.where].ask(name, done, end - start, limit)
    found["seconds"] = round(time.perf_counter() - start, 1)
    return found


def _attempt(measure: Callable[[], Found]) -> Found:
    try:
        return measure()
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
