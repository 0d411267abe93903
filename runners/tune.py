"""Timing a network's kernels on the devices at hand: of several variants that can do a step, the fastest is kept.

Before a variant is timed its results are compared with the plain kernels'. One that is wrong, or that cannot be
compiled, is told and left out: kernels may meet a device here that nobody has tried them on. What is taken without
measuring stays unless another one is faster in pairs too, see netspec.runners.paired_timing.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from netspec._types import Binding, Tuned
from netspec.check.compare import BOUND, agree
from netspec.contract.kernel import Backend, Phase
from netspec.contract.naming import Argument
from netspec.device.base import Array, Call, Device
from netspec.device.binding import bind, models, open_devices
from netspec.errors import NetspecError
from netspec.kernels.parallel import compiled_together
from netspec.machine.blas_threads import one_blas_thread
from netspec.machine.cleanup import on_exit
from netspec.machine.environment import cores
from netspec.machine.tasks import counted
from netspec.planning import Plan, build
from netspec.planning.plan import Region, Step
from netspec.planning.storage import storage_of
from netspec.program import tuning_table
from netspec.program.choice import candidates, question
from netspec.program.steps import Lowering
from netspec.runners.paired_timing import time_in_pairs
from netspec.spec.types import Spec

ROUNDS, LEAST_S = 5, 0.02
"""Rounds of which the median counts, and how long each lasts at least."""
HOPELESS = 3.0
"""How many times the best one's time a candidate may take before it is left at one call."""
TOGETHER = 100
"""Calls that are handed to a GPU at once: of small kernels the host could not start one after the other fast enough."""
SPARED_S = 2e-4
"""What the host may take over a single call to a GPU; it says nothing about the kernels."""
DRAWN = 1_000_003
"""Random numbers of an array, which are repeated: to draw hundreds of millions takes longer than all else."""
LEAST_BOUND = 1e-4
"""Error, against the largest result, that every variant may have: sums of many float32 differ by their order."""
STORED_BOUND = 2.0**-7
"""The same where tensors are stored as bfloat16: what is rounded on the way, and once more at the end."""

Values = Mapping[Argument, np.ndarray[Any, Any]]
Without = Mapping[Backend, Collection[str]]


class Question(NamedTuple):
    """A step that several variants can run; ``text`` is the same for all steps with the same answer.

    ``bounds`` are the error bounds that variants declare, ``least`` is what every one may have.
    """

    text: str
    step: Step
    able: tuple[str, ...]
    bounds: Mapping[str, float]
    least: float = LEAST_BOUND

    @property
    def reference(self) -> str:
        """The variant that others are compared with."""
        return "plain" if "plain" in self.able else self.able[-1]


class Trial(NamedTuple):
    """A variant's kernels on random numbers, run once, and what they wrote."""

    call: Call
    written: Values


@dataclass(frozen=True)
class Bench:
    """A plan on open devices, whose steps are timed one by one."""

    plan: Plan
    devices: Mapping[str, Device]
    without: Without

    def questions(self) -> Iterator[Question]:
        """Every step of a layer for which there is a choice."""
        shards = self.plan.by_place()
        for step in self.plan.steps:
            if step.op in ("forward", "backward"):
                shard = shards[step.layer, step.device]
                layer, t = shard.instance, shard.tensors
                device, direction = self.devices[step.device], step.op
                without = self.without.get(device.kind, ())
                able = candidates(layer, t, device.kind, direction, without, device.capability)
                if len(able) > 1:
                    stored = any(self.plan.buffers[one.buffer].dtype == "bfloat16" for one in step.args.values())
                    least = STORED_BOUND if stored else LEAST_BOUND
                    yield Question(question(layer, t, direction, able), step, able, layer.bounds, least)

    def compile(self, questions: Sequence[Question]) -> None:
        """Compile what will be timed, in several processes; what cannot be compiled is met again, and told then."""
        with suppress(Exception), compiled_together(cores()):
            for asked in questions:
                for variant in asked.able:
                    with suppress(Exception):
                        self._bound(asked, variant)

    def trial(self, asked: Question, variant: str) -> Trial:
        """The step with that variant's kernels; NetspecError where they cannot be compiled for the device."""
        device = self.devices[asked.step.device]
        call, arrays = self._bound(asked, variant)
        for one, array in arrays.items():
            device.upload(array, drawn_values(one, tuple(array.shape), str(array.dtype)))
        call()
        return Trial(call, {one: device.download(arrays[one]) for one in asked.step.writes})

    def _bound(self, asked: Question, variant: str) -> tuple[Call, dict[Argument, Array]]:
        device = self.devices[asked.step.device]
        kinds = {name: one.kind for name, one in self.devices.items()}
        teams = {name: one.team_size for name, one in self.devices.items()}
        capabilities = {name: one.capability for name, one in self.devices.items()}
        measured = {asked.step.device: {asked.text: variant}}
        lowering = Lowering(self.plan, kinds, teams, 0, self.without, measured, capabilities)
        step = lowering.lower(asked.step)
        arrays = {one: device.empty(*_tensor(lowering, region)) for one, region in step.args.items()}
        return device.bind(step.passes, arrays), arrays


def tune(
    spec: Spec,
    binding: Binding,
    phases: Sequence[Phase],
    tell: Callable[[Tuned], None] | None = None,
    until: float = math.inf,
) -> list[Tuned]:
    """See ``netspec.api.tune``; ``tell`` hears of each answer when it is there, none is sought after a time."""
    names, _ = bind(spec.devices, binding.names)
    model = models(dict(zip(spec.devices, names, strict=True)))
    found: dict[tuple[str, str], Tuned] = {}
    with ExitStack() as opened:
        opened.enter_context(one_blas_thread())
        devices = dict(zip(spec.devices, open_devices(names), strict=True))
        for device in devices.values():
            opened.enter_context(on_exit(device.close))
        storage = storage_of(spec.train.precision, [device.capability for device in devices.values()])
        for phase in phases:
            bench = Bench(build(spec, phase, storage=storage), devices, spec.train.without)
            questions: dict[tuple[str, str], Question] = {}
            for asked in bench.questions():
                questions.setdefault((model[asked.step.device], asked.text), asked)
            bench.compile([asked for key, asked in questions.items() if key not in found])
            for key, asked in counted("timing kernels of layers", questions.items()):
                if key not in found and time.perf_counter() < until:
                    found[key] = _answer(bench, asked, key[0])
                    if tell is not None:
                        tell(found[key])
    return list(found.values())


def seconds_of(device: Device, call: Call, best: float) -> float:
    """Seconds of a call that has run once: the median of several rounds, or one call's where far above ``best``."""
    device.synchronise()
    once = _once(device, call)
    if once - (SPARED_S if device.enqueues else 0.0) > HOPELESS * best:
        return once
    count = max(1, round(LEAST_S / max(once, 1e-6)))
    together = min(count, TOGETHER) if device.enqueues else 1
    many = _together(device, call, together)
    if together > 1:
        _round(device, many, 1)  # a graph is brought to the card when it is first replayed
    return statistics.median(_round(device, many, -(-count // together)) for _ in range(ROUNDS)) / together


def _once(device: Device, call: Call) -> float:
    """One call's seconds; on a GPU the least of some, until it has had time to raise its clock."""
    end = time.perf_counter() + LEAST_S
    once = _round(device, call, 1)
    while device.enqueues and time.perf_counter() < end:
        once = min(once, _round(device, call, 1))
    return once


def _together(device: Device, call: Call, count: int) -> Call:
    """The call so many times, as one graph where the device can record it."""

    def many() -> None:
        for _ in range(count):
            call()

    with suppress(NetspecError):  # what cannot be recorded can still be run
        return device.capture(many)
    return many


def _round(device: Device, call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    device.synchronise()
    return (time.perf_counter() - start) / count


def _answer(bench: Bench, asked: Question, model: str) -> Tuned:
    times: dict[str, float] = {}
    wrong: dict[str, str] = {}
    device, reference = bench.devices[asked.step.device], bench.trial(asked, asked.reference)
    for variant in asked.able:
        try:
            trial = reference if variant == asked.reference else bench.trial(asked, variant)
            check(asked, variant, trial.written, reference.written)
        except Exception as error:  # kernels that nobody has tried on this device may fail in any way
            _check_alive(device, asked, variant)
            wrong[variant] = str(error)
        else:
            best = min(times.values(), default=math.inf)
            times[variant] = seconds_of(device, trial.call, best / 1e3) * 1e3
    del reference
    fastest, unconfirmed = _confirmed(bench, asked, times)
    tuning_table.keep(model, {asked.text: tuning_table.Answer(fastest, times)})
    return Tuned(asked.step.name, model, fastest, asked.able[0], times, wrong, unconfirmed)


def _confirmed(bench: Bench, asked: Question, times: dict[str, float]) -> tuple[str, tuple[str, ...]]:
    """The variant to take, and those that seemed faster and were not in pairs, whose times are then these."""
    device = bench.devices[asked.step.device]
    default = next(variant for variant in asked.able if variant in times)
    faster = sorted((variant for variant in times if times[variant] < times[default]), key=lambda one: times[one])
    for number, variant in enumerate(faster):
        together = min(max(1, round(LEAST_S * 1e3 / times[default])), TOGETHER) if device.enqueues else 1
        call, other = (_together(device, bench.trial(asked, one).call, together) for one in (variant, default))
        found = time_in_pairs(device, call, other)
        times[variant], times[default] = (seconds / together * 1e3 for seconds in (found.seconds, found.other))
        if found.holds:
            return variant, tuple(faster[:number])
    return default, tuple(faster)


def check(asked: Question, variant: str, got: Values, wanted: Values) -> None:
    """Raise Failed unless a variant wrote what the reference did, within the bounds of both; where that is finite."""
    bound = sum(asked.bounds.get(name, BOUND) for name in (variant, asked.reference))
    for one, array in wanted.items():
        defined = np.isfinite(array)
        here, there = (np.where(defined, values, 0).astype(array.dtype) for values in (got[one], array))
        agree(str(one), here, there, f"that is what the {asked.reference} kernels give", max(bound, asked.least))


def _check_alive(device: Device, asked: Question, variant: str) -> None:
    """Raise NetspecError where a kernel has broken the device for whatever comes after."""
    try:
        device.synchronise()
    except NetspecError as error:
        raise NetspecError(f"{asked.step.name}: after its {variant} kernels nothing runs any more: {error}") from error


def _tensor(lowering: Lowering, region: Region) -> tuple[tuple[int, ...], str]:
    buffer = lowering.buffers[region.buffer]
    return region.shape_in(buffer.shape), buffer.dtype


def drawn_values(argument: Argument, shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Random numbers, the same for each argument; whole ones are 0, which is a valid index, label and count."""
    if "float" not in dtype:
        return np.zeros(shape, dtype)
    random = np.random.default_rng(crc32(str(argument).encode()))
    return np.resize(random.standard_normal(min(math.prod(shape), DRAWN), np.float32), shape)
