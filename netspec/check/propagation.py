"""Checks of NaN and infinities: what is not finite reaches what it feeds, in every direction and variant.

Each floating tensor that a direction reads is spoilt in turn. The plain kernels in float64 are held to what finite
numbers show: an element that changes with the one spoilt must become NaN with it. (Backward only of gradients: by a NaN
in another tensor a comparison may be decided either way, since forward has passed it on.) All kernels are held to the
plain ones: where they give NaN, NaN; where they give an infinity, that one or NaN. More of an image may become NaN
(zeros of a padding are multiplied, Winograd's method subtracts), but nothing of another image of the batch.
``Layer.nonfinite`` declares what may stay finite.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from netspec.check.compare import BOUND, Failed, agree, element, same_bits
from netspec.check.single import Array, SingleLayer, Values, gradient_of
from netspec.check.subject import Case, Subject, cpu, draw
from netspec.check.writes import variants_on
from netspec.contract.kernel import PHASES, Direction, Phase
from netspec.device.base import Device
from netspec.planning.plan import Pass

Place = tuple[int, ...]
Work = tuple[str, str, tuple[Pass, ...]]
"""A case, a variant and its forward passes."""
_SHARE_OF_ZEROS = 0.2
"""ReLU and dropout give many zeros, and a zero times NaN is NaN."""
_OTHERS = (1e3, -1e3, 0.3, -0.3)
"""Finite numbers that show what depends on an element: they take its place, the last two are added to it."""


@dataclass(frozen=True)
class Trial:
    """A direction with its given tensors, of which ``name`` is spoilt at places of the batch's ``rows``."""

    direction: Direction
    given: Values
    name: str
    spoilt: Array
    what: str
    place: Place | None = None
    """The only element that is spoilt, by NaN."""

    @property
    def values(self) -> dict[str, Array]:
        """What the kernels get."""
        return {**self.given, self.name: self.spoilt}


def check_non_finite(subject: Subject) -> None:
    """NaN reaches all that could change with it, no infinity becomes finite: forward, backward, each CPU variant."""
    _check_declared(subject)
    done: list[Work] = []
    for case, phase in _cases(subject):
        exact = case.on(subject.device, phase, dtype="float64")
        if _is_new(exact, case, done):
            for trial in _trials(exact, _values(case, phase)):
                follows = trial.direction == "forward" or exact.argument(trial.name).role == "gradient"
                if trial.place is not None and follows:
                    _check_reach(exact, trial, case)
    if "cpu" in subject.kernel_backends:
        hold_to_plain(subject, cpu())


def check_cuda_non_finite(subject: Subject) -> None:
    """On a GPU, in each variant, NaN and infinities reach what they reach in the plain CPU kernels."""
    hold_to_plain(subject, subject.gpu)


def _cases(subject: Subject) -> Iterator[tuple[Case, Phase]]:
    return ((case, phase) for phase in PHASES for case in subject.cases)


def _is_new(single: SingleLayer, case: Case, done: list[Work]) -> bool:
    """Whether this phase differs from those before; enters it among them."""
    work = (str(case), single.variant, single.passes("forward"))
    if work in done:
        return False
    done.append(work)
    return True


def _values(case: Case, phase: Phase) -> dict[str, Array]:
    """As drawn, with some zeros."""
    values = draw(case, phase)
    for name, value in values.items():
        if value.dtype.kind == "f":
            rng = np.random.default_rng(crc32(f"zeros of {name}".encode()))
            values[name] = np.where(rng.random(value.shape) < _SHARE_OF_ZEROS, np.float32(0), value)
    return values


def _check_declared(subject: Subject) -> None:
    """Raise where ``nonfinite`` names nothing of the layer's, or gives no reason."""
    cls = subject.cls
    known = {*cls.reports, *(name for kernel in cls.kernels for name in kernel.writes)}
    for name, reason in cls.nonfinite.items():
        if name not in known or not reason:
            names = ", ".join(sorted(known))
            raise Failed(f"``nonfinite`` says {name!r}: {reason!r}; give a reason for one of {names}")


# What is spoilt ------------------------------------------------------------------------------------------------------


def _trials(exact: SingleLayer, values: Values) -> Iterator[Trial]:
    """Each floating tensor of each direction: one NaN; an infinity of each sign; a row of minus infinity."""
    given = dict(values)
    for direction in _directions(exact):
        for name in _read(exact, direction, given):
            yield from _spoilt(direction, given, name)
        if direction == "forward":
            given = {**given, **exact.forward(values)}


def _directions(single: SingleLayer) -> tuple[Direction, ...]:
    trains = single.layer.phase == "train" and single.passes("backward")
    return ("forward", "backward") if trains else ("forward",)


def _read(single: SingleLayer, direction: Direction, given: Values) -> list[str]:
    """Floating tensors that the direction's plain kernels read."""
    passes = single.passes(direction)
    named = dict.fromkeys(str(target) for one in passes for _, target in one.args if target is not None)
    return [name for name in named if name in given and given[name].dtype.kind == "f"]


def _spoilt(direction: Direction, given: Values, name: str) -> Iterator[Trial]:
    value = given[name]
    one, other = _places(name, value.shape)
    yield Trial(direction, given, name, _with(value, {one: np.nan}), f"{_at(name, one)} is NaN", one)
    both = {one: np.inf, other: -np.inf}
    yield Trial(direction, given, name, _with(value, both), f"{_at(name, one)} is inf and {_at(name, other)} is -inf")
    row = _with(value, {0: -np.inf})
    yield Trial(direction, given, name, row, f"{name}[0] is -inf")


def _places(name: str, shape: Place) -> tuple[Place, Place]:
    """An element of the first half and one of the second, by the tensor's name."""
    size = int(np.prod(shape))
    number = crc32(name.encode()) % max(size // 2, 1)
    one, other = (np.unravel_index(flat, shape) for flat in (number, size - 1 - number))
    return tuple(map(int, one)), tuple(map(int, other))


def _with(value: Array, changes: Mapping[Any, float]) -> Array:
    changed = value.copy()
    for place, number in changes.items():
        changed[place] = number
    return changed


def _at(name: str, place: Place) -> str:
    return f"{name}[{', '.join(map(str, place))}]"


# Plain kernels against finite numbers --------------------------------------------------------------------------------


def _check_reach(exact: SingleLayer, trial: Trial, case: Case) -> None:
    """Raise where an element changes with the spoilt one and does not become NaN with it."""
    assert trial.place is not None
    before, after = exact.run(trial.direction, trial.given), exact.run(trial.direction, trial.values)
    changed = {name: np.zeros(array.shape, bool) for name, array in before.items()}
    value = trial.given[trial.name]
    for number, other in enumerate(_OTHERS):
        moved = _with(value, {trial.place: other + (value[trial.place] if number > 1 else 0)})
        for name, array in exact.run(trial.direction, {**trial.given, trial.name: moved}).items():
            changed[name] |= (array != before[name]) & ~(np.isnan(array) & np.isnan(before[name]))
    for name, array in after.items():
        lost = changed[name] & ~np.isnan(array) & _bound(exact, name) if array.dtype.kind == "f" else np.zeros(1, bool)
        if lost.any():
            where = tuple(int(i) for i in np.argwhere(lost)[0])
            with exact.blamed(name):
                raise Failed(
                    f"{element(name, array, where)} where {trial.what}, and changes with it: NaN must be passed on, or "
                    f"``nonfinite`` say why not ({exact.layer.phase}, {trial.direction}; {case})"
                )


def _bound(single: SingleLayer, name: str) -> Any:
    """Which elements of a tensor the rule holds for."""
    exceptions = single.layer.nonfinite
    if name == "report" and single.layer.reports:
        return np.array([each not in exceptions for each in single.layer.reports])
    return name not in exceptions


# Others against plain kernels ----------------------------------------------------------------------------------------


def hold_to_plain(
    subject: Subject, device: Device, variant: str | None = None, chosen: Collection[Case] | None = None
) -> None:
    """Raise Failed where a variant (None: any) on the device loses what the plain kernels in float64 do not.

    ``chosen``: the cases that are run; None: all.
    """
    done: list[Work] = []
    for case, phase in _cases(subject):
        if chosen is not None and case not in chosen:
            continue
        singles = [one for one in variants_on(device, case, phase) if variant in (None, one.variant)]
        singles = [one for one in singles if _is_new(one, case, done)]
        exact = case.on(subject.device, phase, dtype="float64")
        for trial in _trials(exact, _values(case, phase)) if singles else ():
            wanted = exact.run(trial.direction, trial.values)
            for single in singles:
                _check_trial(single, trial, wanted, case)


def _check_trial(single: SingleLayer, trial: Trial, wanted: Values, case: Case) -> None:
    got = single.run(trial.direction, trial.values)
    where = f"{single.device.kind}, {single.variant}, {single.layer.phase}, {trial.direction}; {case}"
    for name, array in wanted.items():
        if name not in got:
            continue
        if array.dtype.kind != "f":
            same_bits(name, got[name], array, f"where {trial.what} ({where})")
            continue
        wrong = _wrong(single, trial, name, got[name], array) & _bound(single, name)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            with single.blamed(name):
                raise Failed(
                    f"{element(name, got[name], place)} where {trial.what}; the plain kernels in float64 give "
                    f"{array[place]:.9g} ({where})"
                )
        _check_finite_ones(name, got[name], array, f"where {trial.what} ({where})", _error(single))


def _error(single: SingleLayer) -> float:
    """The variant's bound, with room for sums that cancel."""
    return 100 * single.layer.bounds.get(single.variant, BOUND)


def _check_finite_ones(name: str, got: Array, wanted: Array, rule: str, bound: float) -> None:
    both = np.isfinite(got) & np.isfinite(wanted)
    agree(name, np.where(both, got, 0), np.where(both, wanted, 0), rule, bound)


def _wrong(single: SingleLayer, trial: Trial, name: str, got: Array, wanted: Array) -> Any:
    """Elements that have lost what is not finite, or have it from another image."""
    lost = np.isfinite(got) if trial.place is None else ~np.isnan(got)  # an infinity may be what rounding made NaN of
    other = np.where(np.isnan(wanted), lost, ~np.isnan(got) & np.isinf(wanted) & (got != wanted))
    if not {name, trial.name} <= _of_images(single):
        return other
    clean = np.isfinite(trial.spoilt.reshape(len(trial.spoilt), -1)).all(axis=1)
    return other | clean.reshape(-1, *[1] * (got.ndim - 1)) & ~np.isfinite(got) & np.isfinite(wanted)


def _of_images(single: SingleLayer) -> set[str]:
    """Tensors with a row for each image of the batch."""
    names = {*single.layer.input_names(len(single.t.inputs)), *single.t.output_names} - {"report"}
    return {*names, *map(gradient_of, names)}
