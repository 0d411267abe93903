"""The gradient check: float64, plain kernels, central differences (after Caffe's checker: kinks thought through)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from netspec.check.compare import Failed, Skipped, element
from netspec.check.single import Array, SingleLayer, Values, gradient_of
from netspec.check.subject import Case, Subject, draw
from netspec.check.variations import altered, odd
from netspec.check.writes import gradients_of, trip

_STEP = 1e-6
_TOLERANCE = 2e-5
_PROBES = 24
"""Elements of each tensor that are probed."""
_FEW = 4
"""Where an attribute or a size is not as in the examples."""
_SMOOTH = 1e-3
"""One-sided slopes that differ by more, relative to their size, mean a kink."""


def check_gradients(subject: Subject) -> None:
    """Backward gives the derivative of forward, for each input and parameter, in float64."""
    compared = 0
    for case, values in subject.trips():
        single = case.on(subject.device, dtype="float64")
        for name in gradients_of(single, case):
            compared += _check_tensor(single, case, name, values, _PROBES)
    sizes = {str(other): other for case in subject.cases for other in odd(case)}
    for case in (*altered(subject.cases), *sizes.values()):
        single, values = case.on(subject.device, dtype="float64"), draw(case)
        for name in gradients_of(single, case):
            _check_tensor(single, case, name, values, _FEW)
    if not compared:
        raise Skipped("no output passes gradients on")


def _check_tensor(single: SingleLayer, case: Case, name: str, values: Values, probes: int) -> int:
    exact = {key: value.astype(np.float64) if value.dtype.kind == "f" else value for key, value in values.items()}
    given = trip(single, exact).backward[gradient_of(name)]
    goal = _objective(single, exact, name)
    here, kinks = goal(exact[name]), 0
    places = list(_places(given, probes))
    for place in places:
        left, right = ((goal(_moved(exact[name], place, step)) - here) / step for step in (-_STEP, _STEP))
        if _is_kink(left, right):
            kinks += 1
        else:
            with single.blamed(gradient_of(name)):
                _check_slope(gradient_of(name), given, place, (left + right) / 2, case)
    if probes == _PROBES:
        _check_kinks(single, name, kinks, len(places))
    return len(places)


def _moved(value: Array, place: tuple[int, ...], step: float) -> Array:
    moved = value.copy()
    moved[place] += step
    return moved


def _places(array: Array, probes: int) -> Iterator[tuple[int, ...]]:
    """All elements of a small array, a fixed choice of a larger one."""
    rng = np.random.default_rng(array.size)
    for flat in rng.permutation(array.size)[:probes]:
        yield tuple(int(i) for i in np.unravel_index(flat, array.shape))


def _objective(single: SingleLayer, values: Values, name: str) -> Callable[[Array], float]:
    """What backward differentiates: the loss, or the sum of outputs times the gradients given for them."""
    rows = single.t.inputs[0].shape[0]
    factor = single.layer.loss_weight / rows

    def goal(value: Array) -> float:
        out = single.forward({**values, name: value})
        if single.layer.reports:
            return float(out["report"][0]) * factor
        terms = [(array * values[gradient_of(key)]).sum() for key, array in out.items() if gradient_of(key) in values]
        return float(sum(terms))

    return goal


def _is_kink(left: float, right: float) -> bool:
    return abs(left - right) > _SMOOTH * max(1.0, abs(left), abs(right))


def _check_slope(name: str, given: Array, place: tuple[int, ...], wanted: float, case: Case) -> None:
    if not abs(given[place] - wanted) <= _TOLERANCE * max(1.0, abs(wanted)):
        raise Failed(f"{element(name, given, place)}, but the difference quotient of forward is {wanted:.9g} ({case})")


def _check_kinks(single: SingleLayer, name: str, kinks: int, probes: int) -> None:
    if kinks and not single.layer.kinks:
        raise Failed(f"forward has no derivative at {kinks} of {probes} elements of '{name}': say where in ``kinks``")
    if kinks > probes // 2:
        raise Failed(f"{kinks} of {probes} elements of '{name}' lie on kinks: the examples test too little")
