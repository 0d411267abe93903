"""Checks of accuracy: float32 against float64, fast variants against plain ones, CUDA against CPU."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from netspec.check.compare import BOUND, Skipped, agree
from netspec.check.kernels import trip
from netspec.check.single import Array, SingleLayer, Values
from netspec.check.subject import Case, Subject, cpu
from netspec.contract.kernel import PHASES, Backend, Phase
from netspec.device.base import Device


def check_float32(subject: Subject) -> None:
    """The plain kernels in float32 agree with themselves in float64."""
    for phase in PHASES:
        for case, values in subject.trips(phase):
            _compare(case.on(subject.device, phase), subject.device, case, values, "float32 differs from float64")


def check_variants(subject: Subject) -> None:
    """Each faster CPU variant agrees with the plain kernels in float64, within its declared bound."""
    if len(_variants(subject, "cpu")) < 2:
        raise Skipped("the layer has plain kernels only")
    _check_variants(subject, cpu(), "cpu")


def check_cuda(subject: Subject) -> None:
    """Each CUDA variant agrees with the plain CPU kernels in float64."""
    _check_variants(subject, subject.gpu, "cuda")


def _variants(subject: Subject, backend: Backend) -> set[str]:
    return {kernel.variant for kernel in subject.cls.kernels if backend in kernel.backends}


def _check_variants(subject: Subject, device: Device, backend: Backend) -> None:
    for phase in PHASES:
        for case, values in subject.trips(phase):
            layer = case.layer(phase)
            t = layer.tensors(case.given(phase))
            for variant in layer.variants(backend):
                if layer.supports(t, variant) and (variant != "plain" or backend == "cuda"):
                    single = case.on(device, phase, variant=variant)
                    what = f"the {backend} variant '{variant}' differs from the plain kernels in float64"
                    _compare(single, subject.device, case, values, what)


def _compare(single: SingleLayer, reference: Device, case: Case, values: Values, what: str) -> None:
    """One trip against the plain kernels in float64; sums that cancel are measured by their absolute terms."""
    phase: Phase = single.layer.phase
    exact = case.on(reference, phase, dtype="float64")
    wanted, terms = trip(exact, values), trip(exact, _absolute(values))
    bound = case.cls.bounds.get(single.variant, BOUND)
    got = trip(single, values).written
    for name, array in wanted.written.items():
        if name in got:
            agree(name, got[name], array, f"{what} ({phase}; {case})", bound, terms.written[name])


def _absolute(values: Values) -> Mapping[str, Array]:
    return {name: np.abs(value) for name, value in values.items()}
