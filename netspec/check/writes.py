"""Checks of what kernels do to memory: all of theirs written, nothing else touched, whatever the team."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from netspec.check.compare import BOUND, Failed, Skipped, agree, finite, same_bits
from netspec.check.on_paper import on_paper
from netspec.check.shuffled import ShuffledCpu
from netspec.check.single import Array, SingleLayer, Values, gradient_of
from netspec.check.subject import Case, Subject, cpu, draw
from netspec.contract.kernel import PHASES, Direction, Phase
from netspec.contract.keys import key_of
from netspec.contract.naming import Argument
from netspec.device.base import Device
from netspec.device.cpu.device import CpuDevice
from netspec.machine.cleanup import on_exit

_TEAMS = (1, 2, 3, 5)


@dataclass(frozen=True)
class Trip:
    """A forward and a backward run: everything that was given, and what each direction wrote."""

    values: Values
    forward: dict[str, Array]
    backward: dict[str, Array]

    @property
    def written(self) -> dict[str, Array]:
        """What both directions wrote."""
        return {**self.forward, **self.backward}


def trip(single: SingleLayer, values: Values, iteration: int = 0, valid: int | None = None) -> Trip:
    """Forward, then, in training, backward on all that it left."""
    forward = single.forward(values, iteration, valid)
    backward: dict[str, Array] = {}
    if single.layer.phase == "train" and single.passes("backward"):
        backward = single.backward({**values, **forward}, iteration, valid)
    return Trip(values, forward, backward)


def variants_on(device: Device, case: Case, phase: Phase = "train", **options: Any) -> list[SingleLayer]:
    """The case with each variant of kernels that can run it."""
    layer = case.layer(phase)
    t = layer.tensors(case.given(phase))
    card = device.capability
    known = [name for name in layer.variant_names(device.kind) if layer.needs.get(name, card) == card]
    variants = [name for name in known if layer.supports(t, name)]
    return [case.on(device, phase, variant=variant, **options) for variant in variants]


def check_written(subject: Subject) -> None:
    """In each phase and variant every element of what is written is written, finite, and nothing else is touched."""
    for phase in PHASES:
        for case, values in subject.trips(phase):
            for single in variants_on(subject.device, case, phase):
                _written_same(single, case, values)


def check_cuda_again(subject: Subject) -> None:
    """On a GPU another run gives the same bits, whatever memory held before."""
    device = subject.gpu
    for case, values in subject.trips():
        for single in variants_on(device, case):
            _written_same(single, case, values)


def _written_same(single: SingleLayer, case: Case, values: Values) -> None:
    phase = single.layer.phase
    other = single.again(poison=1234.5)
    where = f"{single.device.kind}, {single.variant}, {phase}; {case}"
    one, two = trip(single, values), trip(other, values)
    for name, array in one.written.items():
        rule = f"no kernel writes it, or scratch memory is read before it is written ({where})"
        with single.blamed(name):
            if array.dtype.kind == "f":
                finite(name, array, rule)
            same_bits(name, array, two.written[name], rule)


def check_all_outputs(subject: Subject) -> None:
    """On each backend forward writes all outputs, saved tensors and next states, backward the gradients it owes."""
    for backend in subject.asked:
        for case in subject.cases:
            for phase in PHASES:
                _check_direction(case.on(on_paper(backend), phase), case)


def _check_direction(single: SingleLayer, case: Case) -> None:
    phase = single.layer.phase
    where = f"{single.device.kind}, {phase}; {case}"
    wanted, saved = [*single.t.output_names], single.t.names("saved")
    if phase == "train":
        wanted += [*saved, *(str(Argument(name, "next")) for name in single.t.names("state"))]
    _check_named(single, "forward", wanted, where)
    _check_read(single, {*wanted, *saved}, where)
    if phase == "train":
        _check_named(single, "backward", list(map(gradient_of, gradients_of(single, case))), where)


def gradients_of(single: SingleLayer, case: Case) -> list[str]:
    """Tensors whose gradients backward owes: floating inputs and parameters, where an output passes gradients on."""
    if not single.layer.reports and not any(single.t[name].differentiable for name in single.t.output_names):
        return []
    floating = [name for name in single.t.names("input") if single.t[name].dtype.startswith("float")]
    return [*floating, *single.t.names("parameter")]


def _check_named(single: SingleLayer, direction: Direction, wanted: list[str], where: str) -> None:
    written = single.written(direction)
    for name in wanted:
        if name not in written:
            names = ", ".join(written) or "nothing"
            kind = single.device.kind
            raise Failed(f"no {direction} kernel for {kind} writes '{name}': mark one @{direction}(\"{kind}\", "
                         f"over=..., writes=\"{name}\") (they write {names}; {where})")  # fmt: skip


def _check_read(single: SingleLayer, made: set[str], where: str) -> None:
    """What forward itself makes, a kernel of this phase may read only where another one of this phase makes it."""
    written = single.written("forward")
    for one in single.passes("forward"):
        for target in (str(target) for _, target in one.args):
            if target in made and target not in written:
                raise Failed(f"{one.kernel} reads '{target}', which no forward kernel writes ({where})")


def check_in_place(subject: Subject) -> None:
    """A layer that may run in place gives the same bits when y lies in x's memory and d_x in d_y's."""
    if not subject.cls.inplace:
        raise Skipped("the layer does not declare that it may run in place")
    for case, values in subject.trips():
        single = case.on(subject.device)
        for name, array in _in_place(single, values).items():
            wanted = trip(single, values).written[name]
            same_bits(name, array, wanted, f"in place it comes out otherwise than with memory of its own ({case})")


def _in_place(single: SingleLayer, values: Values) -> dict[str, Array]:
    if Argument("x") in {target for one in single.passes("backward") for _, target in one.args}:
        raise Failed("backward reads 'x', which y has overwritten: read y or a saved tensor, or drop inplace")
    forward = single.run("forward", values, alias={"y": "x"})
    rest = {name: value for name, value in {**values, **forward}.items() if name != "x"}
    return {**forward, **single.run("backward", rest, alias={"d_x": "d_y"})}


def check_deterministic(subject: Subject) -> None:
    """The same inputs, key and iteration give the same bits; random layers draw anew with key and iteration."""
    for case, values in subject.trips():
        single = case.on(subject.device)
        first, again = trip(single, values, 3), trip(single, values, 3)
        for name, array in first.written.items():
            with single.blamed(name):
                same_bits(name, again.written[name], array, f"a second run gives other values ({case})")
    for case in subject.cases:
        _check_random(subject, case)


def _check_random(subject: Subject, case: Case) -> None:
    single = case.on(subject.device)
    if not any("key" in one.scalars for one in single.passes("forward")):
        return
    values = draw(case)
    other = replace(case, keys={"key": key_of(1, subject.name)}).on(subject.device)
    for what, result in {"iteration": single.forward(values, 1), "key": other.forward(values)}.items():
        if all((array == result[name]).all() for name, array in single.forward(values).items()):
            raise Failed(f"another {what} draws the same random numbers ({case})")


def check_team(subject: Subject) -> None:
    """Any team, and any dealing of the blocks in any order, gives the same bits on CPUs."""
    if "cpu" not in subject.kernel_backends:
        raise Skipped("the layer has no CPU kernels")
    for case in subject.cases:
        values = draw(case)
        for single in variants_on(cpu(), case):
            teams_agree(single, case, values)


def teams_agree(single: SingleLayer, case: Case, values: Values, bound: float = BOUND) -> None:
    """Raises Failed where a variant's bits for a case depend on the team, or its numbers on how a pass is cut."""
    reference: Trip | None = None
    where = f"{single.variant}; {case}"
    for team in _TEAMS:
        for seed in range(3):
            device = ShuffledCpu(team, seed, apart=(team, seed) == (1, 0))
            result = trip(single.again(device), values)
            reference = reference or result
            for name, array in result.written.items():
                rule = f"it depends on which member of a team of {team} works on which block, and when ({where})"
                with single.blamed(name):
                    same_bits(name, array, reference.written[name], rule)
    assert reference is not None
    for name, array in trip(single, values).written.items():
        rule = f"it depends on how a pass is cut into blocks, or on scratch memory left by another block ({where})"
        with single.blamed(name):
            agree(name, reference.written[name], array, rule, bound)
    _check_threads(single, case, values)


def _check_threads(single: SingleLayer, case: Case, values: Values) -> None:
    device = CpuDevice(0, 3)
    with on_exit(device.close):
        threaded = trip(single.again(device), values).written
    for name, array in trip(single, values).written.items():
        same_bits(name, threaded[name], array, f"a team of three threads gives other values ({case})")
