"""Checks of accuracy: float32 against float64, fast variants against plain ones, CUDA against CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from netspec.check.compare import BOUND, Skipped, agree
from netspec.check.single import Array, SingleLayer, Values
from netspec.check.subject import Case, Subject, cpu
from netspec.check.writes import trip, variants_on
from netspec.contract.kernel import PHASES, Phase
from netspec.device.base import Device
from netspec.planning.plan import Pass


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
            with single.blamed(name):
                agree(name, got[name], array, f"{what} ({phase}; {case})", bound, terms.written[name])


def _absolute(values: Values) -> Mapping[str, Array]:
    return {name: np.abs(value) for name, value in values.items()}
