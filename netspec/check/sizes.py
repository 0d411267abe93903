"""Checks on CPUs that watch each index: on the examples, then at other sizes and with other attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netspec.check.checked import Allocates
from netspec.check.compare import BOUND, Failed, Skipped, agree, finite
from netspec.check.kernel_source import allocation
from netspec.check.single import SingleLayer, Values
from netspec.check.subject import Case, Subject, cpu, draw
from netspec.check.variations import altered, large, odd
from netspec.check.writes import Trip, trip, variants_on
from netspec.contract.kernel import PHASES
from netspec.kernels.lookup import find_kernel

_ROUGH = 1e-2
"""Error of float32 from which on a large sum is wrong, rather than rounded often."""


def check_indices(subject: Subject) -> None:
    """Kernels stay inside their arrays, each index checked, and allocate nothing, in every phase."""
    _need_cpu(subject)
    for phase in PHASES:
        for case, values in subject.trips(phase):
            _watched(case.on(subject.device, phase, dtype="float64"), values)


def check_sizes(subject: Subject) -> None:
    """So they do at odd and at large sizes and with other attributes, where they also write all, in each variant."""
    _need_cpu(subject)
    others = (*_once(subject, odd), *_once(subject, large), *altered(subject.cases))
    for case in {str(case): case for case in others}.values():
        _check_case(subject, case)


def _need_cpu(subject: Subject) -> None:
    if "cpu" not in subject.kernel_backends:
        raise Skipped("the layer has no CPU kernels")


def _once(subject: Subject, change: Callable[[Case], Iterator[Case]]) -> Iterator[Case]:
    """Changed cases; of those that run the same kernels the first alone."""
    seen = set()
    for case in subject.cases:
        single = case.on(subject.device)
        kernels = tuple(one.kernel for direction in single.directions for one in single.passes(direction))
        if kernels not in seen:
            seen.add(kernels)
            yield from change(case)


def _check_case(subject: Subject, case: Case) -> None:
    values = draw(case)
    exact = case.on(subject.device, dtype="float64")
    wanted = _watched(exact, values)
    for name, array in wanted.written.items():
        with exact.blamed(name):
            finite(name, array, f"it is not written, or NaN is written to it ({case})")
    for single in variants_on(cpu(), case):
        _check_variant(single, values, wanted, case)


def _check_variant(single: SingleLayer, values: Values, wanted: Trip, case: Case) -> None:
    got = trip(single, values).written
    bound = max(_ROUGH, 10 * case.cls.bounds.get(single.variant, BOUND))
    for name, array in wanted.written.items():
        if name in got and array.dtype.kind == "f":
            with single.blamed(name):
                agree(name, got[name], array, f"{single.variant} in float32 differs from plain float64 ({case})", bound)


def _watched(single: SingleLayer, values: Values) -> Trip:
    try:
        return trip(single, values)
    except Allocates as error:
        function = find_kernel(error.kernel).function
        raise Failed(
            f"{allocation(function)}: {function.__name__} allocates memory in each call: ask for room by workspace(), "
            "and write element by element"
        ) from error
