"""The check of activations that are stored as bfloat16: kernels read and write them as float32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from netspec.check.compare import Failed, Skipped, agree, error
from netspec.check.precision import rounded_trip
from netspec.check.single import Array, SingleLayer, Values
from netspec.check.subject import Case, Subject, cpu
from netspec.check.writes import teams_agree, trip, variants_on
from netspec.contract.kernel import PHASES
from netspec.device.base import Device
from netspec.planning.plan import Pass

_UNIT = 2.0**-9
"""Half of the most that rounding to bfloat16 takes from a number, as a share of it."""
_BOUND = 4 * _UNIT
"""Largest error, see netspec.check.compare, of elements that cancel too: backward reads what forward has rounded."""
_ROOM = 4
"""How many times as far off as rounded numbers make the exact results they may be where a case is ill-conditioned."""
_EXAMPLES = 2
"""A layer's examples that are run, the first ones: arithmetic is that of float32, which other checks are for."""


def check_bfloat16(subject: Subject) -> None:
    """With activations stored as bfloat16 each CPU variant agrees with the plain kernels in float64, for any team."""
    if "cpu" not in subject.kernel_backends:
        raise Skipped("the layer has no CPU kernels")
    _check(subject, cpu())
    for case, values, single in _singles(subject, cpu()):
        if single.layer.phase == "train":
            teams_agree(single, case.stored_as_bfloat16(), values, _BOUND)


def check_cuda_bfloat16(subject: Subject) -> None:
    """With activations stored as bfloat16 each CUDA variant agrees with the plain CPU kernels in float64."""
    _check(subject, subject.gpu)


def _check(subject: Subject, device: Device) -> None:
    for case, values, single in _singles(subject, device):
        exact = case.on(subject.device, single.layer.phase, dtype="float64")
        wanted, got = trip(exact, values).written, trip(single, values).written
        for name in wanted.keys() & got.keys():
            try:
                _hold(single, name, got[name], wanted[name], _BOUND, case)
            except Failed:
                moved = error(rounded_trip(exact, values, _UNIT)[name], wanted[name])
                _hold(single, name, got[name], wanted[name], max(_BOUND, _ROOM * moved), case)


def _hold(single: SingleLayer, name: str, got: Array, wanted: Array, bound: float, case: Case) -> None:
    kernels = f"the {single.device.kind.upper()} kernels ({single.variant})"
    what = f"with activations of bfloat16 {kernels} differ from the plain CPU kernels"
    with single.blamed(name):
        agree(name, got, wanted, f"{what} ({single.layer.phase}; {case})", bound)


def _singles(subject: Subject, device: Device) -> Iterator[tuple[Case, Values, SingleLayer]]:
    """The first examples with each variant that takes them, in those phases that differ from the ones before."""
    done = list[tuple[str, str, tuple[Pass, ...]]]()
    chosen = subject.cases[:_EXAMPLES]
    for phase in PHASES:
        for case, values in subject.trips(phase):
            for single in variants_on(device, case.stored_as_bfloat16(), phase) if case in chosen else ():
                work = (str(case), single.variant, single.passes("forward"))
                if work not in done:
                    done.append(work)
                    yield case, _as_stored(single, values), single


def _as_stored(single: SingleLayer, values: Values) -> Values:
    """The values as they are once they are stored, in float32."""
    return {name: np.asarray(value).astype(values[name].dtype) for name, value in single.rounded(values).items()}
