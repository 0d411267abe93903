"""A spec bound to devices with its parameters: what trains, evaluates and predicts, one batch a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from netspec import tuned
from netspec.contract.kernel import Phase
from netspec.device.base import Device
from netspec.device.binding import bind, models, open_devices
from netspec.errors import NetspecError
from netspec.plan import Plan, build
from netspec.plan.builder import Alias
from netspec.program import Program, declared_bounds, lower, measured_choices
from netspec.runners.bound import BoundProgram
from netspec.runners.local import local_runner
from netspec.runners.memory import check_memory
from netspec.runners.serial import SerialRunner
from netspec.runners.trace import Trace
from netspec.spec.model import Spec
from netspec.store import Store

Host = np.ndarray[Any, Any]
Opener = Callable[[Sequence[str]], Sequence[Device]]
RUNNERS: Mapping[str, Callable[..., Any]] = {"local": local_runner, "serial": SerialRunner}


def _maker(runner: str) -> Callable[..., Any]:
    if runner not in RUNNERS:
        raise NetspecError(f"unknown runner '{runner}': {' or '.join(RUNNERS)}")
    return RUNNERS[runner]


class Rates(NamedTuple):
    """The solver's numbers for one iteration."""

    learning_rate: float
    momentum: float
    weight_decay: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch gave: the sums of each cost layer's report, its loss weight beside them, and the verdict."""

    reports: Mapping[str, Mapping[str, float]]
    finite: bool


class Session:
    """Programs of one or more phases over one Store, on open devices.

    ``devices`` names real devices (None: the best there are); ``names`` maps layers to another spec's, see
    netspec.plan.build. Raises SpecError for a spec that cannot be planned, NetspecError for devices that cannot be had.
    """

    def __init__(
        self,
        spec: Spec,
        devices: Sequence[str] | None = None,
        *,
        batch: int | None = None,
        runner: str = "local",
        seed: int | None = None,
        phases: Sequence[Phase] = ("train", "eval"),
        eval_batch: int | None = None,
        trace: Trace | None = None,
        watchdog: float = 300.0,
        names: Mapping[str, Alias] | None = None,
        opener: Opener = open_devices,
    ) -> None:
        make = _maker(runner)
        self.spec = spec
        self.seed = spec.train.seed if seed is None else seed
        self.batch = batch or spec.train.batch
        sizes = {"train": self.batch, "eval": eval_batch or self.batch, "predict": eval_batch or self.batch}
        self.plans: dict[Phase, Plan] = {phase: build(spec, phase, sizes[phase], names) for phase in phases}
        bound, notes = bind(spec.devices, devices)
        self._measured = tuned.measured(models(dict(zip(spec.devices, bound, strict=True))))
        with ExitStack() as opened:  # what is open by then is closed again where a later step fails
            limits = threadpool_limits(1, user_api="blas")  # a device's own threads share out the cores
            opened.callback(limits.restore_original_limits)
            self.devices: dict[str, Device] = dict(zip(spec.devices, opener(bound), strict=True))
            for device in self.devices.values():
                opened.callback(device.close)
            self.programs: dict[Phase, Program] = {phase: self._lower(plan) for phase, plan in self.plans.items()}
            self.notes = (*notes, *declared_bounds(self.programs.values()), *measured_choices(self.programs.values()))
            check_memory(self.programs.values(), dict(zip(spec.devices, bound, strict=True)))
            self.store = Store(self.plans.values(), self.devices)
            self.store.initialise(self.seed)
            self._bound = self._bind()
            self._runners = {phase: make(one, trace=trace, watchdog=watchdog) for phase, one in self._bound.items()}
            for one_runner in self._runners.values():
                opened.callback(one_runner.close)
            self._opened = opened.pop_all()

    def train(self, arrays: Mapping[str, Host], iteration: int, valid: int, rates: Rates) -> Outcome:
        """One iteration of SGD on a batch; ``arrays`` maps network inputs to host arrays of the batch's size."""
        self._run("train", arrays, (iteration, valid), rates)
        return Outcome(self._reports("train"), self._finite())

    def evaluate(self, arrays: Mapping[str, Host], valid: int) -> Outcome:
        """Forward a labelled batch of which the first ``valid`` rows count."""
        self._run("eval", arrays, (0, valid), Rates(0.0, 0.0, 0.0))
        return Outcome(self._reports("eval"), True)

    def predict(self, arrays: Mapping[str, Host], valid: int) -> Host:
        """Probabilities (valid, classes) of an unlabelled batch."""
        self._run("predict", arrays, (0, valid), Rates(0.0, 0.0, 0.0))
        probs = self.plans["predict"].probs
        assert probs is not None
        return self._bound["predict"].download(probs)[:valid]

    def bound(self, phase: Phase) -> BoundProgram:
        """The phase's program on its devices, to look into."""
        return self._bound[phase]

    def close(self) -> None:
        """End threads and give devices back."""
        self._opened.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _lower(self, plan: Plan) -> Program:
        kinds = {name: device.kind for name, device in self.devices.items()}
        teams = {name: device.team_size for name, device in self.devices.items()}
        return lower(plan, kinds, teams, self.seed, self.spec.train.without, self._measured)

    def _bind(self) -> dict[Phase, BoundProgram]:
        """All phases on one arena a device, as they never run at the same time."""
        sizes = {name: max(program.arenas.get(name, 0) for program in self.programs.values()) for name in self.devices}
        arenas = {name: device.arena(sizes[name]) for name, device in self.devices.items()}
        return {phase: BoundProgram(one, self.devices, self.store, arenas) for phase, one in self.programs.items()}

    def _run(self, phase: Phase, arrays: Mapping[str, Host], counters: tuple[int, int], rates: Rates) -> None:
        if phase not in self._bound:
            raise NetspecError(f"this session was not made for '{phase}', only for {', '.join(self._bound)}")
        self._bound[phase].fill(arrays, counters, rates)
        self._runners[phase].run()

    def _reports(self, phase: Phase) -> dict[str, dict[str, float]]:
        reports = {}
        for buffer, names in self.plans[phase].reports.items():
            layer = buffer.partition(".")[0]
            sums = self._bound[phase].download(buffer)
            weight = float(self.spec.layer(layer).attrs.get("weight", 1.0))
            reports[layer] = {**dict(zip(names, map(float, sums), strict=True)), "weight": weight}
        return reports

    def _finite(self) -> bool:
        verdicts = [name for name in self.plans["train"].buffers if name.startswith("finite@")]
        return all(bool(self._bound["train"].download(name).all()) for name in verdicts)
