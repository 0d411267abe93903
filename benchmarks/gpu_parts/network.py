"""A whole network on the card: every step timed alone against its bound, then whole iterations."""

from __future__ import annotations

import time
from math import prod
from typing import Any, NamedTuple

import numpy as np

from gpu_parts.timing import seconds
from netspec.contract.tensor import itemsize
from netspec.plan.model import Step
from netspec.program.model import Program
from netspec.runners.session import Rates, Session
from netspec.spec import load
from netspec.spec.model import Spec

RATES = Rates(1e-6, 0.9, 5e-4)


def spec_of(name: str, batch: int) -> Spec:
    """A spec by name or file, for a batch size."""
    return load(name, (f"train.batch={batch}",))


def images(spec: Spec, batch: int, seed: int = 0) -> dict[str, Any]:
    """A generated batch for the spec's inputs."""
    random, arrays = np.random.default_rng(seed), {}
    for name, one in spec.inputs.items():
        high = 256 if one.shape else 10
        dtype = np.uint8 if one.shape else np.int32
        arrays[name] = random.integers(0, high, (batch, *one.shape)).astype(dtype)
    return arrays


def right(name: str, batch: int) -> dict[str, Any]:
    """One iteration on the card and on CPUs from the same start: the largest difference of any tensor."""
    spec, found = spec_of(name, batch), []
    for kind in ("cpu", "cuda"):
        with Session(spec, [kind], phases=("train",)) as session:
            outcome = session.train(images(spec, batch), 0, batch, Rates(0.01, 0.9, 5e-4))
            found.append((session.store.tensors(), outcome))
    (a, on_cpu), (b, on_gpu) = found
    worst = max(a, key=lambda key: _error(a[key], b[key]))
    losses = [next(iter(outcome.reports.values()))["loss"] for outcome in (on_cpu, on_gpu)]
    return {
        "network": name,
        "worst_tensor": worst,
        "worst_error": _error(a[worst], b[worst]),
        "loss_cpu": losses[0],
        "loss_gpu": losses[1],
        "finite": on_gpu.finite,
    }


class Ceilings(NamedTuple):
    """What was measured on this card: GB/s of a copy, TFLOP/s of a float32 product; None where it was not."""

    copy: float | None
    product: float | None


def steps(name: str, batch: int, ceilings: Ceilings, until: float) -> dict[str, Any]:
    """Every step of a training iteration, alone: milliseconds, TFLOP/s, GB/s and their shares of the ceilings."""
    rows, spec = [], spec_of(name, batch)
    with Session(spec, ["cuda"], phases=("train",)) as session:
        session.train(images(spec, batch), 0, batch, RATES)
        program = session.programs["train"]
        for bound in session.bound("train").steps:
            step = bound.step
            if step.op in ("scalars", "agree", "commit", "finite") or time.perf_counter() > until:
                continue
            taken = seconds(session.devices[step.device], bound.call, graph=step.queue == "compute")
            rows.append(_row(program, step, taken, ceilings))
    rows.sort(key=lambda row: -row["ms"])
    return {"network": name, "batch": batch, "total_ms": sum(row["ms"] for row in rows), "rows": rows}


def iterations(name: str, batch: int, devices: str, runner: str, budget: float) -> dict[str, Any]:
    """Images a second of training, and the host's milliseconds of enqueueing where streams overlap."""
    spec = spec_of(name, batch)
    with Session(spec, [devices], runner=runner, phases=("train",)) as session:
        arrays = images(spec, batch)
        session.train(arrays, 0, batch, RATES)
        times: list[float] = []
        end = time.perf_counter() + budget
        while len(times) < 3 or (time.perf_counter() < end and len(times) < 50):
            start = time.perf_counter()
            outcome = session.train(arrays, len(times), batch, RATES)
            times.append(time.perf_counter() - start)
        assert outcome.finite
    median = sorted(times)[len(times) // 2]
    return {
        "network": name,
        "devices": devices,
        "runner": runner,
        "batch": batch,
        "images_per_second": batch / median,
        "ms": median * 1e3,
        "iterations": len(times),
    }


def _row(program: Program, step: Step, taken: float, ceilings: Ceilings) -> dict[str, Any]:
    moved = sum(_bytes(program, step, name) for name in step.args)
    bandwidth, rate = moved / taken / 1e9, step.flops / taken / 1e12
    return {
        "step": step.name,
        "variant": step.attrs.get("variant", ""),
        "ms": taken * 1e3,
        "TFLOPs": rate,
        "GBs": bandwidth,
        "share_of_copy": bandwidth / ceilings.copy if ceilings.copy else None,
        "share_of_product": rate / ceilings.product if ceilings.product else None,
        "kernels": len(step.passes),
    }


def _bytes(program: Program, step: Step, name: str) -> int:
    region = step.args[name]
    buffer = program.buffers[region.buffer]
    shape = list(buffer.shape)
    if region.axis is not None:
        shape[region.axis] = region.stop - region.start
    return prod(shape) * itemsize(buffer.dtype)


def _error(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return float(np.abs(a.astype(np.float64) - b).max() / max(float(np.abs(a).max()), 1e-30))
