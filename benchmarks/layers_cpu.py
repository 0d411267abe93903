"""Each layer of AlexNet's left tower on one core: netspec, PyTorch, and what the machine could do.

    python benchmarks/layers_cpu.py --batch 32 --rounds 5 --json out.json

Steps are those of a real iteration, on its own arrays. PyTorch runs the same layer with one thread, in turn with ours.
The bound of convolutions and dense layers is their FLOPs at the rate of a large matrix product, that of all others the
bytes they must read and write at the rate of a copy; both rates are measured first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tables
from alexnet_cpu import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from netspec.device.cpu.device import CpuDevice
from netspec.planning.plan import Step
from netspec.program.program import Program
from netspec.runners.execution.session import Rates, Session
from netspec.spec import load

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

Job = Callable[[], Any]
Row = dict[str, Any]
LAYERS = ("conv", "relu", "lrn", "pool", "dense", "dropout")


def rates() -> tuple[float, float]:
    """(FLOP a second of a large product, bytes a second of a large copy), one thread, the best of several."""
    a, b = (np.random.default_rng(i).standard_normal((1536, 1536), dtype=np.float32) for i in range(2))
    c, big = np.empty_like(a), np.zeros(1 << 26, np.uint8)
    other = np.empty_like(big)
    flops = 2 * 1536**3 / min(timed(lambda: np.matmul(a, b, out=c)) for _ in range(8))
    return flops, 2 * big.nbytes / min(timed(lambda: np.copyto(other, big)) for _ in range(8))


def timed(job: Job) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def nbytes(program: Program, step: Step) -> int:
    """What the step must read and write: its tensors once each, workspace left out."""
    buffers = (program.buffers[region.buffer] for region in step.args.values())
    return sum(buffer.nbytes for buffer in buffers if buffer.role != "workspace")


def steps(session: Session) -> list[tuple[str, str, Step, Job]]:
    """(layer, pass, step, call) of the left device, and the update of its largest parameter."""
    types = {shard.layer: shard.type for shard in session.plans["train"].shards}
    found = []
    for one in session._bound["train"].steps:
        step = one.step
        if step.device == "left" and step.op in ("forward", "backward") and types[step.layer] in LAYERS:
            found.append((step.layer, step.op, step, one.call))
        if step.name == "fc6.weight@left.update":
            found.append(("fc6", "SGD", step, one.call))
    return found


def rival(session: Session, layer: str, what: str) -> Job | None:
    """The same work in PyTorch; None where it has none or PyTorch is absent."""
    if torch is None:
        return None
    shard = next(s for s in session.plans["train"].shards if (s.layer, s.device) == (layer, "left"))
    if what == "SGD":
        return torch_sgd(shard.params["weight"])
    module, x = torch_layer(shard.type, shard.attrs, next(iter(shard.inputs.values())))
    x.requires_grad_(layer != "conv1")
    if what == "forward":
        return lambda: no_grad(module, x)
    y = module(x)
    dy = torch.randn_like(y)
    wanted = [t for t in (x, *module.parameters()) if t.requires_grad]
    return lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)


def no_grad(module: Any, x: Any) -> None:
    with torch.no_grad():
        module(x)


def torch_layer(kind: str, attrs: Any, shape: Any) -> tuple[Any, Any]:
    """A module and its input, channels last."""
    nn = torch.nn
    x = torch.randn(*shape) if len(shape) == 2 else torch.randn(*shape).permute(0, 3, 1, 2)
    if kind == "conv":
        pad = attrs["pad"]
        if attrs["rounding"] == "ceil" and attrs["stride"] > 1:
            x = nn.functional.pad(x, (0, 3, 0, 3)).contiguous(memory_format=torch.channels_last)
        conv = nn.Conv2d(shape[-1], attrs["filters"], attrs["size"], attrs["stride"], pad)
        return conv.to(memory_format=torch.channels_last), x
    if kind == "dense":
        width = prod(shape[1:])
        return nn.Linear(width, attrs["units"]), torch.randn(shape[0], width)
    modules = {
        "relu": lambda: nn.ReLU(),
        "lrn": lambda: nn.LocalResponseNorm(attrs["size"], 5 * attrs["alpha"], attrs["beta"], attrs["k"]),
        "pool": lambda: nn.MaxPool2d(attrs["size"], attrs["stride"]),
        "dropout": lambda: nn.Dropout(0.5),
    }
    return modules[kind](), x


def torch_sgd(shape: Any) -> Job:
    """PyTorch's fused SGD on one parameter."""
    weight = torch.nn.Parameter(torch.randn(*shape))
    weight.grad = torch.randn(*shape)
    return torch.optim.SGD([weight], lr=1e-6, momentum=0.9, weight_decay=5e-4, fused=True).step


def measure(session: Session, rounds: int) -> tuple[dict[str, float], list[Row]]:
    """What the machine can do, and one row a layer and pass."""
    flops, copy = rates()
    print(f"sgemm {flops / 1e9:.0f} GFLOP/s, copy {copy / 1e9:.1f} GB/s, one thread", file=sys.stderr)
    rows = []
    for layer, what, step, call in steps(session):
        theirs = rival(session, layer, what)
        ours, torchs = alternate(call, theirs, rounds)
        heavy = any(one.kernel.split(":")[0] in ("conv", "dense") for one in step.passes)
        bound = step.flops / flops if heavy else nbytes(session.programs["train"], step) / copy
        kernel = step.attrs.get("variant", "plain")
        rows.append({"layer": layer, "pass": what, "variant": kernel, "seconds": ours, "torch": torchs, "bound": bound})
    return {"flops": flops, "copy": copy}, rows


def alternate(ours: Job, theirs: Job | None, rounds: int) -> tuple[float, float | None]:
    """Medians of both, a call of each in turn."""
    jobs = [ours] if theirs is None else [ours, theirs]
    for job in jobs:
        job()
    times = [[timed(job) for job in jobs] for _ in range(rounds)]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    return medians[0], medians[1] if theirs else None


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if torch is not None:
        torch.set_num_threads(1)
    opener = lambda names: [CpuDevice(index, 1) for index, _ in enumerate(names)]  # noqa: E731
    options: dict[str, Any] = {"batch": arguments.batch, "phases": ("train",), "runner": "serial", "opener": opener}
    with Session(load("alexnet", ("train.fuse=false",)), ["cpu:0", "cpu:1"], **options) as session:
        random = np.random.default_rng(0)
        arrays = {
            "image": random.integers(0, 256, (arguments.batch, 224, 224, 3), dtype=np.uint8),
            "label": random.integers(0, 1000, arguments.batch).astype(np.int32),
        }
        session.train(arrays, 0, arguments.batch, Rates(1e-6, (0.9, 5e-4)))
        found_rates, rows = measure(session, arguments.rounds)
    date = time.strftime("%Y-%m-%d")
    result = {"date": date, "machine": machine(), "batch": arguments.batch, "rates": found_rates, "rows": rows}
    print("\n".join(tables.layers(result)))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
