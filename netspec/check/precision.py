"""Checks of accuracy: float32 against float64, fast variants against plain ones, CUDA against CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from netspec.check.compare import BOUND, Failed, Skipped, agree, error
from netspec.check.single import Array, SingleLayer, Values
from netspec.check.subject import Case, Subject, cpu
from netspec.check.writes import trip, variants_on
from netspec.contract.kernel import PHASES, Phase
from netspec.device.base import Device
from netspec.planning.plan import Pass

_ULP = float(np.finfo(np.float32).eps) / 2
_ROOM = 16
"""How many times as far off as rounded inputs make them results may be where a case is ill-conditioned."""


def check_float32(subject: Subject) -> None:
    """The plain kernels in float32 agree with themselves in float64."""
    for phase in PHASES:
        for case, values in subject.trips(phase):
            _compare(case.on(subject.device, phase), subject.device, case, values, "float32 differs from float64")


def check_variants(subject: Subject) -> None:
    """Each faster CPU variant agrees with the plain kernels in float64, within its declared bound."""
    if all(kernel.variant == "plain" or "cpu" not in kernel.backends for kernel in subject.cls.kernels):
        raise Skipped("the layer has plain CPU kernels only")
    for case, values, single in _singles(subject, cpu()):
        if single.variant != "plain":
            _compare(single, subject.device, case, values, f"the variant '{single.variant}' differs from plain float64")


def check_cuda(subject: Subject) -> None:
    """Each CUDA variant agrees with the plain CPU kernels in float64, and leaves no element unwritten."""
    for case, values, single in _singles(subject, subject.gpu):
        what = f"the CUDA kernels ({single.variant}) differ from the plain CPU kernels in float64"
        _compare(single, subject.device, case, values, what)


def _singles(subject: Subject, device: Device) -> Iterator[tuple[Case, Values, SingleLayer]]:
    """All cases and variants, in those phases that differ from the ones before."""
    done: list[tuple[str, str, tuple[Pass, ...]]] = []
    for phase in PHASES:
        for case, values in subject.trips(phase):
            for single in variants_on(device, case, phase):
                work = (str(case), single.variant, single.passes("forward"))
                if work not in done:
                    done.append(work)
                    yield case, values, single


def _compare(single: SingleLayer, reference: Device, case: Case, values: Values, what: str) -> None:
    """One trip against the plain kernels in float64; sums that cancel are measured by their absolute terms."""
    phase: Phase = single.layer.phase
    exact = case.on(reference, phase, dtype="float64")
    wanted, terms = trip(exact, values), trip(exact, _absolute(values))
    bound = case.cls.bounds.get(single.variant, BOUND)
    got = trip(single, values).written
    for name, array in wanted.written.items():
        if name in got:
            try:
                with single.blamed(name):
                    agree(name, got[name], array, f"{what} ({phase}; {case})", bound, terms.written[name])
            except Failed as failed:
                moved = error(rounded_trip(exact, values)[name], array, terms.written[name])
                if not _ROOM * moved > error(got[name], array, terms.written[name]):
                    raise
                if not case.drawn:
                    raise Failed(_told(name, moved, case, bound)) from failed


def _told(name: str, moved: float, case: Case, bound: float) -> str:
    return (
        f"an example is ill-conditioned: to round what kernels read to float32 alone moves '{name}' by {moved:.1e} of "
        f"its size, and {bound:.0e} is allowed, so that none could pass; put larger inputs into ``examples``, such as "
        f"12 rows where statistics are taken over rows ({case})"
    )


def rounded_trip(exact: SingleLayer, values: Values, unit: float = _ULP) -> Mapping[str, Array]:
    """What comes out in float64 where all that forward reads, and then all that backward reads, is off by that."""
    rng = np.random.default_rng(0)

    def rounded(given: Values) -> Values:
        off = {name: rng.choice((-unit, unit), value.shape) for name, value in given.items()}
        return {name: value * (1 + off[name]) if value.dtype.kind == "f" else value for name, value in given.items()}

    forward = exact.forward(rounded(values))
    trains = exact.layer.phase == "train" and exact.passes("backward")
    return {**forward, **(exact.backward(rounded({**values, **forward})) if trains else {})}


def _absolute(values: Values) -> Mapping[str, Array]:
    return {name: np.abs(value) for name, value in values.items()}
