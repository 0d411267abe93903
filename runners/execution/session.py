"""A spec bound to devices with its parameters: what trains, evaluates and predicts, one batch a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np

from netspec.contract.kernel import Backend, Phase
from netspec.contract.naming import Argument
from netspec.device.base import Device
from netspec.device.binding import models, open_devices, place
from netspec.errors import NetspecError
from netspec.kernels.parallel import compiled_together
from netspec.machine.blas_threads import one_blas_thread
from netspec.machine.cleanup import close_after, on_exit
from netspec.machine.environment import cores
from netspec.metrics import tells
from netspec.planning import Plan, build
from netspec.planning.builder import Alias
from netspec.planning.identities import BufferKey
from netspec.planning.plan import ShardInfo
from netspec.planning.rank_cut import over_ranks, slice_of
from netspec.planning.rates import Rates, rate_layout
from netspec.planning.storage import counting, storage_of, told
from netspec.program import Program, declared_bounds, lower, measured_choices, plain_products, tuning_table
from netspec.runners.execution.base import Runner
from netspec.runners.execution.bound import BoundProgram
from netspec.runners.execution.engines import ENGINES, check_engine
from netspec.runners.execution.local import local_runner
from netspec.runners.execution.memory_check import Memory, check_memory, taken
from netspec.runners.execution.replicas import ReplicaRunner, assigned
from netspec.runners.execution.serial import SerialRunner
from netspec.runners.execution.shared_gradients import SharedGradients, shared_by
from netspec.runners.execution.trace import Trace
from netspec.runners.transport.alone import ALONE
from netspec.runners.transport.base import Transport, named
from netspec.runners.transport.crew import crew_of
from netspec.solvers import make_solver
from netspec.spec.types import Spec
from netspec.store import Store

Host = np.ndarray[Any, Any]
Opener = Callable[[Sequence[str]], Sequence[Device]]
Cost = tuple[BufferKey, str, tuple[str | None, ...], float]
"""A report's buffer, its layer, the names of its sums (None: not told) and the layer's weight."""
PARAM, OVERFLOW = Argument("param"), Argument("overflow")
RUNNERS: Mapping[str, Callable[..., Any]] = {"local": local_runner, "serial": SerialRunner}


def _maker(runner: str) -> Callable[..., Any]:
    if runner not in RUNNERS:
        raise NetspecError(f"unknown runner '{runner}': {' or '.join(RUNNERS)}")
    return RUNNERS[runner]


def check_binding(spec: Spec, devices: Sequence[str] | None, runner: str, engine: str = "mpi") -> None:
    """Raise NetspecError for devices, a runner or an engine that cannot be had; opens nothing."""
    _maker(runner)
    check_engine(engine, place(spec.devices, devices).names)


NO_RATES = Rates(0.0, ())
"""Where nothing is updated: a learning rate of 0, with the solver's own numbers in training."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch gave: the sums of each cost layer's report, its loss weight beside them, and the verdict.

    ``overflowed`` names the tensors that are no longer finite since the update, which had finite gradients.
    """

    reports: Mapping[str, Mapping[str, float]]
    finite: bool
    seconds: float | None = None
    """How long the devices worked on it, where they can tell."""
    overflowed: tuple[str, ...] = ()


class Session:
    """Programs of one or more phases over one Store, on open devices.

    ``devices`` names real devices (None: the best there are); ``names`` maps layers to another spec's, see
    netspec.planning.build. ``transport`` leads to other processes, which share the replicas of a training batch, each
    its own rows of one, and where names of devices say so the devices, of which each then opens its own; ``engine`` is
    by what they exchange, see netspec.runners.execution.engines. ``resident``
    has all images, uint8 (M, H, W, C), of network inputs: the devices hold them, and batches have rows of PLACE in
    place of images, see netspec.contract.augmentation.

    Raises SpecError for a spec that cannot be planned, NetspecError for devices that cannot be had.
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
        transport: Transport = ALONE,
        resident: Mapping[str, Host] | None = None,
        engine: str = "mpi",
    ) -> None:
        make = _maker(runner)
        self.spec = spec
        self.transport = transport
        self.seed = spec.train.seed if seed is None else seed
        self.batch = batch or spec.train.batch
        whole = eval_batch or self.batch // spec.replicas
        sizes: dict[Phase, int] = {"train": self.batch, "eval": whole, "predict": whole}
        held = {name: images.shape for name, images in (resident or {}).items()}
        placed = place(spec.devices, devices)
        self.crew = crew_of(self.transport, placed.processes)
        self.ranks = dict(zip(spec.devices, placed.ranks, strict=True))
        """Which of the processes that work a replica together has each of the spec's devices."""
        own = [device for device, rank in self.ranks.items() if rank == self.crew.place]
        binding = dict(zip(own, placed.of(self.crew.place), strict=True))
        self._measured = self.crew.across.broadcast(tuning_table.measured(models(binding)))
        with ExitStack() as opened:  # what is open by then is closed again where a later step fails
            opened.enter_context(one_blas_thread())
            self.devices: dict[str, Device] = dict(zip(own, opener([*binding.values()]), strict=True))
            for device in self.devices.values():
                opened.enter_context(on_exit(device.close))
            found = [(device.kind, device.capability) for device in self.devices.values()]
            each = self.transport.gather(found)
            _check_kinds(self.transport, [{kind for kind, _ in found} for found in each])
            capabilities = [capability for found in each for _, capability in found]
            self.engine = ENGINES[engine](self.crew, [*self.devices.values()])
            opened.enter_context(on_exit(self.engine.close))
            self.storage = storage_of(spec.train.precision, capabilities)
            """How activations are stored: see netspec.planning.storage."""
            self.shared: SharedGradients | None = None
            """The gradients that several processes sum, where all of them see these."""
            planned = partial(build, spec, names=names, storage=self.storage, resident=held)
            self.wholes: dict[Phase, Plan] = {phase: self._plan(phase, sizes[phase], planned) for phase in phases}
            """The plans of all ranks together."""
            self.wholes = {phase: over_ranks(plan, placed.ranks) for phase, plan in self.wholes.items()}
            self.plans: dict[Phase, Plan] = {
                phase: slice_of(plan, self.crew.place) for phase, plan in self.wholes.items()
            }
            self.programs: dict[Phase, Program] = {phase: self._lower(plan) for phase, plan in self.plans.items()}
            self.notes = (*placed.notes, *told(spec.train.precision, capabilities), *self._told())
            check_memory(self.programs.values(), binding, self._taken_beside(binding))
            self.store = Store(self.wholes.values(), self.devices)
            self._hold(resident or {})
            with self.store.initialising(self.seed), compiled_together(cores()):
                self._bound = self._bind()
            asked = {one["type"] for one in spec.train.metrics}
            self._costs = {phase: _costs(plan, self.wholes[phase], asked) for phase, plan in self.plans.items()}
            self._verdicts = {phase: plan.keys("verdict") for phase, plan in self.plans.items()}
            self._rates = rate_layout(spec.train, self.plans["train"].rated if "train" in self.plans else ())
            self._updates = {phase: _updates(plan) for phase, plan in self.plans.items()}
            self._runners: dict[Phase, Runner] = {
                phase: self._replicated(make(one, trace=trace, watchdog=watchdog + transport.patience))
                for phase, one in self._bound.items()
            }
            for one_runner in self._runners.values():
                opened.enter_context(on_exit(one_runner.close))
            self._opened = opened.pop_all()

    def train(self, arrays: Mapping[str, Host], iteration: int, valid: int, rates: Rates) -> Outcome:
        """One iteration of the solver on a batch; ``arrays`` maps network inputs to host arrays of the batch's size."""
        self.stage(arrays)
        self.start(iteration, valid, rates)
        return self.finish()

    def evaluate(self, arrays: Mapping[str, Host], valid: int) -> Outcome:
        """Forward a labelled batch of which the first ``valid`` rows count."""
        self.stage(arrays, "eval")
        self.start(0, valid, phase="eval")
        return self.finish("eval")

    def predict(self, arrays: Mapping[str, Host], valid: int) -> Host:
        """The network's answer to an unlabelled batch: probabilities (valid, classes), or numbers (valid, K)."""
        self.stage(arrays, "predict")
        self.start(0, valid, phase="predict")
        self._runner("predict").finish()
        answer = self.answer("predict", valid)
        assert answer is not None
        return answer

    # The same in three parts ----------------------------------------------------------------------------------------

    @property
    def ahead(self) -> bool:
        """Whether devices work by themselves once started, so that the next batch can be staged meanwhile."""
        return any(runner.ahead for runner in self._runners.values())

    def depth(self) -> int:
        """How many iterations of training may be under way at once, started and not finished: hides the host's work."""
        return self._runner("train").depth

    def stage(self, arrays: Mapping[str, Host], phase: Phase = "train") -> None:
        """Take the batch that ``start`` will work on; ``arrays`` can be overwritten when this returns.

        Where devices work ahead, the batch of an iteration may be staged while the one before it runs.
        """
        self._runner(phase).stage(arrays)

    def start(self, iteration: int, valid: int, rates: Rates = NO_RATES, phase: Phase = "train") -> None:
        """Begin an iteration on the batch staged last, of whose rows in this process the first ``valid`` count."""
        if phase == "train" and self.shared:
            self.shared.transport.meet()
        self._runner(phase).start((iteration, self.counted(valid, phase)), self.rates(rates, phase))

    def finish(self, phase: Phase = "train") -> Outcome:
        """Wait for the end of what was started first.

        Where it was not finite, what was started after it has changed nothing, and is waited for too.
        """
        runner = self._runner(phase)
        seconds = runner.finish()
        finite = all(all(runner.read(key).tolist()) for key in self._verdicts.get(phase, ()))
        overflowed = self._overflowed(runner, phase) if finite else ()
        outcome = Outcome(self._reports(runner, phase), finite, seconds, overflowed)
        if not finite:
            runner.drain()
            runner.bound.trust()
        return outcome

    def counted(self, valid: int, phase: Phase) -> int:
        """Rows that count in a batch of all processes, where so many do in this one's: training has no others."""
        return self.batch if phase == "train" and self.crew.groups > 1 else valid

    def rates(self, rates: Rates, phase: Phase = "train") -> Sequence[float]:
        """What the phase's program is given of the solver's numbers."""
        if phase != "train":
            return ()
        if rates is NO_RATES:
            rates = Rates(0.0, make_solver(self.spec.train.solver).numbers)
        return self._rates.values(rates)

    def answer(self, phase: Phase, valid: int) -> Host | None:
        """The network's answer to the batch that has been finished, one row an example; None in training, and where
        the network has no such output."""
        key = self.plans[phase].answer
        return None if key is None or phase == "train" else self._runner(phase).read(key)[:valid].copy()

    @property
    def answering(self) -> int:
        """Which of the ranks that work a replica together has the answer in an evaluation; 0 where there is none."""
        answer = self.wholes["eval"].answer
        return self.ranks[answer.device] if answer else 0

    def news(self) -> list[str]:
        """Lines for people that have come up since this was last asked."""
        found = [line for runner in self._runners.values() for line in runner.news]
        for runner in self._runners.values():
            runner.news.clear()
        return found

    def captured(self, phase: Phase = "train") -> bool:
        """Whether iterations of the phase are replayed as a graph by now."""
        return self._runner(phase).captured

    @property
    def tuned(self) -> dict[str, str]:
        """The variants that measurements chose, by phase and step; none where the layers' own order stands."""
        return {
            f"{phase} {step.name}": str(step.attrs["variant"])
            for phase, program in self.programs.items()
            for step in program.steps
            if step.attrs.get("tuned")
        }

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
        if error is not None:
            self.engine.fail()
        close_after(error, self.close)

    def _told(self) -> tuple[str, ...]:
        """Lines for people on the kernels that were chosen."""
        programs = tuple(self.programs.values())
        slow = () if self.spec.train.precision == "float32" else plain_products(programs)
        return (*declared_bounds(programs), *slow, *measured_choices(programs))

    def _plan(self, phase: Phase, size: int, planned: Callable[..., Plan]) -> Plan:
        make = partial(planned, phase, size, processes=self.crew.groups)
        if phase != "train":
            return make()
        plan, self.shared = shared_by(self.crew, self.devices.values(), lambda seen: make(in_memory=seen))
        return plan

    def _lower(self, plan: Plan) -> Program:
        kinds = {name: device.kind for name, device in self.devices.items()}
        teams = {name: device.team_size for name, device in self.devices.items()}
        train = self.spec.train
        capabilities = {name: counting(train.precision, device.capability) for name, device in self.devices.items()}
        apart = self.shared.arrays if self.shared else ()
        return lower(plan, kinds, teams, self.seed, train.without, self._measured, train.fuse, capabilities, apart)

    def _bind(self) -> dict[Phase, BoundProgram]:
        """All phases on one arena a device, as they never run at the same time."""
        sizes = {name: max(program.arenas.get(name, 0) for program in self.programs.values()) for name in self.devices}
        arenas = {name: device.arena(sizes[name]) for name, device in self.devices.items()}
        rest = (self.devices, self.store, arenas, self.engine, self.shared)
        return {phase: BoundProgram(one, *rest) for phase, one in self.programs.items()}

    def _hold(self, resident: Mapping[str, Host]) -> None:
        """Bring the images to each device that reads them."""
        for key, array in self.store.arrays.items():
            if key.role == "resident":
                self.devices[key.device].upload(array, resident[key.of.owner or ""])

    def _replicated(self, runner: Runner) -> Runner:
        """The runner, or one that has it work replica by replica."""
        plan = runner.bound.program.plan
        return runner if plan.replicas == 1 else ReplicaRunner(runner, assigned(plan, self.crew.group))

    def _taken_beside(self, binding: Mapping[str, str]) -> dict[Memory, int]:
        """Bytes that the run's other processes on this machine take."""
        hosts, own = self.transport.hosts, self.transport.rank
        beside: dict[Memory, int] = {}
        for rank, theirs in enumerate(self.transport.gather(taken(self.programs.values(), binding))):
            for shared, nbytes in theirs.items() if rank != own and hosts[rank] == hosts[own] else ():
                beside[shared] = beside.get(shared, 0) + nbytes
        return beside

    def _runner(self, phase: Phase) -> Runner:
        if phase not in self._runners:
            raise NetspecError(f"this session was not made for '{phase}', only for {', '.join(self._bound)}")
        return self._runners[phase]

    def _overflowed(self, runner: Runner, phase: Phase) -> tuple[str, ...]:
        """Parameters that the update made infinite or NaN."""
        flags = ((names, runner.read(key).tolist()) for key, names in self._updates[phase].items())
        return tuple(dict.fromkeys(names[i] for names, values in flags for i, value in enumerate(values) if value))

    def _reports(self, runner: Runner, phase: Phase) -> dict[str, dict[str, float]]:
        return {
            layer: {**_named(names, runner.read(buffer).tolist()), "weight": weight}
            for buffer, layer, names, weight in self._costs[phase]
        }


def _check_kinds(transport: Transport, kinds: Sequence[set[Backend]]) -> None:
    """Raise NetspecError where some processes have GPUs and others none: their sums would be others."""
    for rank, found in enumerate(kinds):
        if found != kinds[0]:
            one, other = (f"{named(transport, place)} works on {''.join(kinds[place])}" for place in (0, rank))
            raise NetspecError(f"{one}, and {other}: say --devices cuda, which all must have, or --devices cpu")


def _costs(plan: Plan, whole: Plan, asked: Set[str]) -> tuple[Cost, ...]:
    shards = {shard.layer: shard for shard in whole.shards}
    costs = [(key, shards[key.of.layer or ""], sums) for key, sums in plan.reports.items()]
    return tuple((key, one.layer, _telling(one, sums, asked), one.instance.loss_weight) for key, one, sums in costs)


def _telling(cost: ShardInfo, sums: Sequence[str], asked: Set[str]) -> tuple[str | None, ...]:
    """The names of a report's sums; None for what is 0 of so few classes, unless the spec asks for it."""
    probs = cost.outputs.get("probs")
    return tuple(name if probs is None or name in asked or tells(name, probs[-1]) else None for name in sums)


def _named(names: Sequence[str | None], values: Sequence[float]) -> dict[str, float]:
    return {name: value for name, value in zip(names, values, strict=True) if name}


def _updates(plan: Plan) -> dict[BufferKey, dict[int, str]]:
    """The flags that updates raise: the logical parameter of each place of those buffers."""
    found: dict[BufferKey, dict[int, str]] = {}
    for step in plan.steps:
        if step.op == "update":
            logical, flag = plan.buffers[step.args[PARAM].buffer].logical, step.args[OVERFLOW]
            assert logical is not None
            found.setdefault(flag.buffer, {})[flag.start] = str(logical.key)
    return found
