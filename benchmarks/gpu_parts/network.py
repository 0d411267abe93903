"""A whole network on the card: every step timed alone against its bound, then whole iterations."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from gpu_parts.timing import seconds as seconds_of
from netspec._types import Binding, Tuned
from netspec.planning.plan import Step
from netspec.program import tuning_table as tables
from netspec.program.gpu_model import step_bytes
from netspec.program.program import Program, memory
from netspec.runners.execution.session import Outcome, Rates, Session
from netspec.runners.tune import tune
from netspec.spec import load
from netspec.spec.types import Spec

RATES = Rates(1e-6, (0.9, 5e-4))
LEARNING = Rates(0.01, (0.9, 5e-4))
PRECISIONS = ("float32", "tf32", "bf16")
WATCHDOG_S = 30.0
"""No iteration here takes a second: one that takes this long hangs, and says in which step."""


def spec_of(name: str, batch: int, precision: str) -> Spec:
    """A spec by name or file, for a batch size and a precision on GPUs."""
    return load(name, (f"train.batch={batch}", f"train.precision={precision}"))


def images(spec: Spec, batch: int, seed: int = 0) -> dict[str, Any]:
    """A generated batch for the spec's inputs."""
    random, arrays = np.random.default_rng(seed), {}
    for name, one in spec.inputs.items():
        high = 256 if one.shape else 10
        dtype = np.uint8 if one.shape else np.int32
        arrays[name] = random.integers(0, high, (batch, *one.shape)).astype(dtype)
    return arrays


def right(name: str, batch: int, precision: str) -> dict[str, Any]:
    """One iteration on the card and on CPUs from the same start: the worst tensor's difference."""
    expected, on_cpu = _trained(spec_of(name, batch, "float32"), "cpu", batch)
    got, outcome = _trained(spec_of(name, batch, precision), "cuda", batch)
    errors = {key: _error(expected[key], got[key]) for key in expected}
    worst = max(errors, key=lambda key: math.inf if math.isnan(errors[key]) else errors[key])
    losses = f"loss {_loss(outcome):.6g}, on CPUs {_loss(on_cpu):.6g}"
    answer = f"{worst} is off by {errors[worst]:.1e} of its largest value; {losses}"
    if not outcome.finite:
        answer += "; NOT FINITE"
    return {"answer": answer, "network": name, "precision": precision, "worst_error": errors[worst]}


def curves(name: str, batch: int, iterations: int = 30) -> dict[str, Any]:
    """The loss of the first iterations on CPUs and on the card, from one start and on the same batches."""
    losses: dict[str, list[float]] = {}
    runs = {"cpu": "float32", **{f"cuda {precision}": precision for precision in PRECISIONS}}
    for run, precision in runs.items():
        spec, kind = spec_of(name, batch, precision), run.partition(" ")[0]
        with Session(spec, [kind], phases=("train",), watchdog=WATCHDOG_S) as session:
            steps = (session.train(images(spec, batch, i % 5), i, batch, LEARNING) for i in range(iterations))
            losses[run] = [_loss(outcome) / batch for outcome in steps]
    rows = [{"iteration": i + 1, **{key: curve[i] for key, curve in losses.items()}} for i in range(0, iterations, 5)]
    apart = {key: max(map(_apart, losses["cpu"], curve)) for key, curve in losses.items() if key != "cpu"}
    answer = ", ".join(f"{key} differs from CPUs by up to {most:.1e}" for key, most in apart.items())
    return {"answer": answer, "network": name, "largest_relative_difference": max(apart.values()), "rows": rows}


class Ceilings(NamedTuple):
    """What was measured on this card: GB/s of a copy, TFLOP/s of a large product by precision."""

    copy: float | None
    products: dict[str, float]


def steps(name: str, batch: int, precision: str, ceilings: Ceilings, until: float) -> dict[str, Any]:
    """Every step of a training iteration, alone: milliseconds, TFLOP/s, GB/s and the share of what bounds it.

    But for those that do nothing when they are repeated, or whose repetition means nothing.
    """
    rows, spec = [], spec_of(name, batch, precision)
    with Session(spec, ["cuda"], phases=("train",), watchdog=WATCHDOG_S) as session:
        session.train(images(spec, batch), 0, batch, RATES)
        program = session.programs["train"]
        for bound in session.bound("train").steps:
            step = bound.step
            if step.op in ("scalars", "agree", "commit", "finite", "shadow") or time.perf_counter() > until:
                continue
            taken = seconds_of(session.devices[step.device], bound.call, graph=step.queue == "compute")
            rows.append(_row(program, step, taken, precision, ceilings))
    rows.sort(key=lambda row: -row["ms"])
    total, floor = (sum(row[key] for row in rows) for key in ("ms", "floor_ms"))
    slowest = ", ".join(f"{row['step']} {row['ms']:.3f}" for row in rows[:5])
    answer = f"{total:.2f} ms in {len(rows)} steps, their floor {floor:.2f} ms; the slowest: {slowest}"
    head = {"network": name, "batch": batch, "precision": precision, "total_ms": total, "floor_ms": floor}
    return {"answer": answer, **head, "rows": rows}


class Times(NamedTuple):
    """Seconds of whole iterations: by the clock, of the devices, and of the call that starts one."""

    walls: list[float]
    works: list[float]
    starts: list[float]


def iterations(
    name: str, batch: int, devices: str, precision: str, runner: str = "local", budget: float = 5.0
) -> dict[str, Any]:
    """Images a second of training as runs do it, batches coming up meanwhile, and the host's share of an iteration."""
    spec, opened = spec_of(name, batch, precision), time.perf_counter()
    with Session(spec, [devices], runner=runner, phases=("train",), watchdog=WATCHDOG_S) as session:
        opening = time.perf_counter() - opened
        arrays = [images(spec, batch, seed) for seed in (0, 1)]
        for iteration in range(4):  # compiling, and a graph for each set of input buffers
            session.train(arrays[iteration % 2], iteration, batch, RATES)
        times = _times(session, arrays, batch, budget)
        captured, news = session.captured(), session.news()
        taken = _mebibytes(session)
    wall, work, start = map(statistics.median, times)
    how = "replayed as a graph" if captured else "NOT captured"
    speed = f"{batch / wall:,.0f} images a second, {wall * 1e3:.2f} ms ({work * 1e3:.2f} ms of the card)"
    answer = f"{speed}, {how}, {taken:,.0f} MiB"
    return {
        "answer": f"{answer}; opened in {opening:.0f} s",
        "network": name,
        "devices": devices,
        "runner": runner,
        "precision": precision,
        "batch": batch,
        "images_per_second": batch / wall,
        "ms": wall * 1e3,
        "ms_of_devices": work * 1e3,
        "us_of_the_host_alone": (wall - work) * 1e6 if work else None,
        "us_of_start": start * 1e6,
        "captured": captured,
        "news": news,
        "MiB": taken,
        "iterations": len(times.walls),
        "seconds_to_open": opening,
    }


def _times(session: Session, arrays: Sequence[dict[str, Any]], batch: int, budget: float) -> Times:
    """Of 3 to 200 iterations in so many seconds, as a run makes them: see netspec.runners.training.loop."""
    times = Times([], [], [])

    def start() -> None:
        ready = time.perf_counter()
        session.start(len(times.walls), batch, RATES)
        times.starts.append(time.perf_counter() - ready)

    end = time.perf_counter() + budget
    session.stage(arrays[0])
    session.start(0, batch, RATES)
    began = time.perf_counter()
    while len(times.walls) < 3 or (time.perf_counter() < end and len(times.walls) < 200):
        session.stage(arrays[len(times.walls) % 2])
        if session.depth() > 1:
            start()
            outcome = session.finish()
        else:
            outcome = session.finish()
            start()
        assert outcome.finite
        times.walls.append(time.perf_counter() - began)
        times.works.append(outcome.seconds or 0.0)
        began += times.walls[-1]
    session.finish()
    return times


def memory_by_precision(name: str, batches: Sequence[int], modes: Sequence[str]) -> dict[str, Any]:
    """MiB that training allocates on the card."""
    rows, answers = [], []
    for batch in batches:
        row: dict[str, Any] = {"batch": batch}
        for mode in modes:
            with Session(spec_of(name, batch, mode), ["cuda:0"], phases=("train",)) as session:
                row[f"{mode} MiB"] = _mebibytes(session)
        taken = [row[f"{mode} MiB"] for mode in modes]
        row["share"] = taken[0] / taken[-1]
        answers.append(f"batch {batch}: {taken[0]:,.0f} MiB in {modes[0]}, {row['share']:.2f} of {modes[-1]}'s")
        rows.append(row)
    return {"answer": "; ".join(answers), "rows": rows}


def _mebibytes(session: Session) -> float:
    return sum(row["total"] for row in memory(session.programs.values()).values()) / 2**20


def tuned(name: str, batch: int, devices: str, precision: str, seconds: float) -> dict[str, Any]:
    """Every variant of kernels timed and compared with the plain ones, as ``netspec tune`` does; then training by them.

    What was found is used here alone: the user's own tables stay as they are.
    """
    rows: list[dict[str, Any]] = []

    def tell(one: Tuned) -> None:
        wrong = {variant: f"WRONG: {words[:100]}" for variant, words in one.wrong.items()}
        times = {variant: f"{ms:.4f}" for variant, ms in one.milliseconds.items()}
        rows.append({"step": one.step, "fastest": one.variant, "otherwise": one.preferred, **times, **wrong})

    kept = tables.cache_root
    with TemporaryDirectory() as folder:
        tables.cache_root = lambda: Path(folder)
        try:
            tune(spec_of(name, batch, precision), Binding(devices), ("train",), tell, time.perf_counter() + seconds)
            found = iterations(name, batch, devices, precision)
        finally:
            tables.cache_root = kept
    other = sum(row["fastest"] != row["otherwise"] for row in rows)
    wrong = sorted({key for row in rows for key, words in row.items() if str(words).startswith("WRONG")})
    told = f"kernels that are WRONG on this card: {', '.join(wrong)}" if wrong else "no kernel is wrong"
    answer = f"{found['answer']}; {other} of {len(rows)} steps take other kernels than without measuring; {told}"
    return {**found, "answer": answer, "tuned": True, "rows": rows}


def _trained(spec: Spec, kind: str, batch: int) -> tuple[dict[str, Any], Outcome]:
    with Session(spec, [kind], phases=("train",), watchdog=WATCHDOG_S) as session:
        outcome = session.train(images(spec, batch), 0, batch, LEARNING)
        return session.store.tensors(), outcome


def _row(program: Program, step: Step, taken: float, precision: str, ceilings: Ceilings) -> dict[str, Any]:
    moved, variant = step_bytes(program, step), str(step.attrs.get("variant", ""))
    kind = next((one for one in PRECISIONS if one in variant), precision)
    floors = [moved / 1e9 / ceilings.copy if ceilings.copy else 0.0]
    floors.append(step.flops / 1e12 / ceilings.products[kind] if kind in ceilings.products else 0.0)
    return {
        "step": " + ".join((step.name, *step.others)),
        "variant": variant,
        "ms": taken * 1e3,
        "TFLOPs": step.flops / taken / 1e12,
        "GBs": moved / taken / 1e9,
        "floor_ms": max(floors) * 1e3,
        "share_of_roofline": max(floors) / taken or None,
        "kernels": len(step.passes),
    }


def _loss(outcome: Outcome) -> float:
    return next(iter(outcome.reports.values()))["loss"]


def _apart(a: float, b: float) -> float:
    return abs(a - b) / max(abs(a), 1e-30)


def _error(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return float(np.abs(a.astype(np.float64) - b).max() / max(float(np.abs(a).max()), 1e-30))
