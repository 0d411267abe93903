"""The contract suite of solvers: named checks that each registered one gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from netspec.check.compare import Failed, agree, same_bits
from netspec.check.declared import check_docs
from netspec.check.setting_schema import check_schema
from netspec.check.shuffled import ShuffledCpu
from netspec.check.subject import cpu, gpu
from netspec.contract.naming import Argument
from netspec.contract.reduction import CHUNK, chunks
from netspec.contract.solver import SCALES, Solver
from netspec.contract.solver_kernels import NORM_SOURCES
from netspec.device.base import Device
from netspec.planning.identities import Op, StepKey, of_layer
from netspec.planning.plan import Buffer, Region, Step
from netspec.program.steps import Lowering

Array = NDArray[Any]
Values = dict[str, Array]
SHAPE = (37, 5)
"""Not a multiple of four: the last elements go one by one on GPUs."""
LONG = (70_001,)
"""More than a block on CPUs."""
STEPS, RATE, DECAY = 3, 2.0, 0.5
"""Updates in turn; the factors of the parameter on rate and decay."""
_CLIP = 0.25


@dataclass(frozen=True)
class SolverSubject:
    """A registered solver and what its examples make of it."""

    name: str
    cls: type[Solver]

    @property
    def examples(self) -> list[Solver]:
        """One for each of the examples."""
        return [self.cls(attrs) for attrs in self.cls.examples]


class Parameter:
    """A parameter with all that lies beside it, before its first update; gradients are drawn anew for each."""

    def __init__(self, one: Solver, shape: tuple[int, ...] = SHAPE, clipped: bool = False, seed: int = 0) -> None:
        self.one, self.random, self.clipped = one, np.random.default_rng(seed), clipped
        self.values: Values = {
            "param": self.random.standard_normal(shape).astype(np.float32),
            **{slot: np.zeros(shape, np.float32) for slot in one.state},
            "rates": np.array([one.learning_rate, *one.numbers], np.float32),
            "finite": np.ones(2, np.int32),
            "overflow": np.zeros(1, np.int32),
        }
        self.values |= {SCALES: np.zeros((1, len(one.scales)), np.float32)} if one.scales else {}
        self.values |= {"clip": np.full(1, _CLIP, np.float32)} if clipped else {}

    @property
    def kept(self) -> tuple[str, ...]:
        """What an update renews."""
        return ("param", *self.one.state, *([SCALES] if self.one.scales else []))

    def draw(self) -> None:
        """The next gradient."""
        self.values["gradient"] = self.random.standard_normal(self.values["param"].shape).astype(np.float32)

    def update(self, device: Device) -> None:
        """One iteration on a device."""
        beside = ("rates", "finite", *(["clip"] if self.clipped else []))
        if self.one.scales:
            names = (SCALES, *(name for name in beside if name != "clip" or "g_norm" in self.one.norms))
            squares = {NORM_SOURCES[norm]: _squares(self.values[_OF[norm]]) for norm in self.one.norms}
            self._run(device, "scale", {**{name: self.values[name] for name in names}, **squares}, (SCALES,))
        names = (*self.kept, "gradient", *beside, "overflow")
        self._run(device, "update", {name: self.values[name] for name in names}, ("param", *self.one.state, "overflow"))

    def _run(self, device: Device, op: Op, given: Values, writes: tuple[str, ...]) -> None:
        attrs = {"solver": self.one.type, "rate": RATE, "decay": DECAY}
        self.values |= run_step(device, op, given, writes, attrs)

    def expected(self) -> Values:
        """What the iteration should give, by the solver's own functions in Python, in float64."""
        rate, *others = map(float, self.values["rates"])
        numbers = {"rate": rate * RATE, **dict(zip(self.one.numeric, others, strict=True))}
        numbers |= {"weight_decay": numbers["weight_decay"] * DECAY} if "weight_decay" in numbers else {}
        values = {name: self.values[name].astype(np.float64) for name in (*self.kept, "gradient")}
        values["gradient"] *= _CLIP if self.clipped else 1.0
        found: Values = {}
        if self.one.scales:
            numbers |= {name: float(value) for name, value in zip(self.one.scales, values[SCALES][0], strict=True)}
            numbers |= {norm: float(np.sqrt((values[_OF[norm]] ** 2).sum())) for norm in self.one.norms}
            given = _tuple(_called(self.one.scalar_scale, (), numbers))
            numbers |= dict(zip(self.one.scales, given, strict=True))
            found[SCALES] = np.array([given])
        arrays = [values[name].ravel() for name in ("param", "gradient", *self.one.state)]
        rows = [_tuple(_called(self.one.scalar_update, row, numbers)) for row in zip(*arrays, strict=True)]
        for name, column in zip(("param", *self.one.state), zip(*rows, strict=True), strict=True):
            found[name] = np.array(column).reshape(values["param"].shape)
        return found


_OF = {"w_norm": "param", "g_norm": "gradient"}


def run_step(
    device: Device, op: Op, given: Mapping[str, Array], writes: tuple[str, ...], attrs: Mapping[str, Any]
) -> Values:
    """What a step writes, on a device by itself."""
    keys = {name: of_layer("one", name, "activation", "d") for name in given}
    buffers = {keys[name]: Buffer(keys[name], value.shape, str(value.dtype)) for name, value in given.items()}
    args = {Argument(name): Region(key) for name, key in keys.items()}
    plan = cast(Any, SimpleNamespace(by_place=dict, buffers=buffers))
    step = Step(StepKey(op, "d"), "compute", args, tuple(map(Argument, writes)), attrs=attrs)
    lowered = Lowering(plan, {"d": device.kind}, {"d": device.team_size}, 0).lower(step)
    arrays = {}
    for name, value in given.items():
        arrays[Argument(name)] = device.empty(value.shape, str(value.dtype))
        device.upload(arrays[Argument(name)], value)
    device.bind(lowered.passes, arrays)()
    return {name: np.array(device.download(arrays[Argument(name)])) for name in writes}


def _squares(values: Array) -> Array:
    """The partial sums that netspec.ops.squares gives."""
    squares = values.astype(np.float64).ravel() ** 2
    return np.array([squares[CHUNK * n : CHUNK * (n + 1)].sum() for n in range(chunks(squares.size))])


def _called(function: Callable[..., Any], first: tuple[Any, ...], numbers: Mapping[str, Any]) -> Any:
    names = function.__code__.co_varnames[len(first) : function.__code__.co_argcount]
    return function(*map(float, first), *(float(numbers[name]) for name in names))


def _tuple(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


# Checks -------------------------------------------------------------------------------------------------------------


def check_results(subject: SolverSubject) -> None:
    """``update`` gives w and each of the state, ``scale`` each of the scales."""
    for one in subject.examples:
        parameter = Parameter(one, (3,))
        parameter.draw()
        try:
            parameter.expected()
        except ValueError as error:
            wanted = ", ".join(("w", *one.state))
            scales = f", and scale() {', '.join(one.scales)}" if one.scales else ""
            raise Failed(f"update() must return {wanted}{scales}, in this order: {error}") from error


def check_formula(subject: SolverSubject) -> None:
    """In float32 on CPUs several updates are what the functions give in float64, with and without clipping."""
    for parameter in _parameters(subject):
        for number in range(STEPS):
            parameter.draw()
            wanted = parameter.expected()
            parameter.update(cpu())
            for name, values in wanted.items():
                agree(name, parameter.values[name], values, f"float32 is off after {number + 1} updates", terms=values)


def check_team(subject: SolverSubject) -> None:
    """Any team gives the same bits."""
    one = subject.examples[0]
    results = []
    for device in (cpu(), ShuffledCpu(2, 0), ShuffledCpu(3, 1)):
        parameter = Parameter(one, LONG)
        parameter.draw()
        parameter.update(device)
        results.append(parameter.values)
    for name in parameter.kept:
        for found in results[1:]:
            same_bits(name, found[name], results[0][name], "it depends on the size of the team")


def check_unchanged(subject: SolverSubject) -> None:
    """Where a device's iteration is not finite, and where the rate is 0, nothing changes."""
    _unchanged(subject, cpu())


def check_overflow(subject: SolverSubject) -> None:
    """A parameter that is no longer finite is told, be it one of four or behind the last four."""
    _overflow(subject, cpu())


def check_cuda(subject: SolverSubject) -> None:
    """The CUDA kernels give what the CPU's do, and change nothing and tell of overflow as they do."""
    card = gpu()
    for first, second in zip(_parameters(subject), _parameters(subject), strict=True):
        for _ in range(STEPS):
            for parameter, device in ((first, cpu()), (second, card)):
                parameter.draw()
                parameter.update(device)
        for name in first.kept:
            agree(name, second.values[name], first.values[name], "the CUDA kernel gives other values than the CPU's")
    _unchanged(subject, card)
    _overflow(subject, card)


CHECKS: tuple[Callable[[Any], None], ...] = (
    check_docs,
    check_schema,
    check_results,
    check_formula,
    check_team,
    check_unchanged,
    check_overflow,
    check_cuda,
)
"""All checks, cheap ones first. Each returns, or raises Failed or Skipped with the reason."""


def _parameters(subject: SolverSubject) -> Iterator[Parameter]:
    for clipped in (False, True):
        yield from (Parameter(one, clipped=clipped) for one in subject.examples)


def _unchanged(subject: SolverSubject, device: Device) -> None:
    for name in ("finite", "rates"):
        parameter = Parameter(subject.examples[0])
        parameter.draw()
        parameter.update(device)
        parameter.values[name][-1 if name == "finite" else 0] = 0
        before = {each: parameter.values[each].copy() for each in parameter.kept}
        parameter.update(device)
        for each in parameter.kept:
            same_bits(each, parameter.values[each], before[each], f"changed although '{name}' forbids it")


def _overflow(subject: SolverSubject, device: Device) -> None:
    for place in (0, -1):
        parameter = Parameter(subject.examples[0])
        parameter.draw()
        parameter.values["param"].flat[place] = np.inf
        parameter.update(device)
        if not parameter.values["overflow"][0]:
            raise Failed(f"an infinite parameter was not told on {device.name}")
