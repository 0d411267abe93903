"""What must be the same whatever the batch and the phase, and whenever a layer is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netspec.check.compare import Failed
from netspec.check.on_paper import on_paper
from netspec.check.subject import Case, Subject
from netspec.contract.kernel import PHASES, Phase

_STORED = {"params": "parameter", "state": "state"}


def check_constancy(subject: Subject) -> None:
    """Parameters and state have one shape for every batch and phase; methods answer alike whenever they are asked."""
    for case in subject.cases:
        larger = case.reshaped(lambda shape: (2 * shape[0], *shape[1:]))
        for phase in PHASES:
            _check_same(case, case, phase, f"in {phase}")
        if larger.fits():
            _check_same(case, larger, "train", "with twice the batch")
            _check_flops(case, larger)
        for backend in subject.asked:
            _check_pure(case, backend)


def _check_same(case: Case, other: Case, phase: Phase, where: str) -> None:
    for method, noun in _STORED.items():
        wanted, got = _stored(case, method, "train"), _stored(other, method, phase)
        for name in {**wanted, **got}:
            if wanted.get(name) != got.get(name):
                raise Failed(
                    f"{noun} '{name}' is {wanted.get(name, 'not there')} in training and {got.get(name, 'not there')} "
                    f"{where}: a checkpoint holds one for all; {method}() must depend on neither ({case})"
                )


def _stored(case: Case, method: str, phase: Phase) -> Mapping[str, Any]:
    """Shapes by name."""
    stored = getattr(case.layer(phase), method)(*case.given(phase))
    return {name: one.shape for name, one in stored.items()}


def _check_flops(case: Case, larger: Case) -> None:
    """Operations are those of the batch: twice as large a one takes more of them."""
    one, two = ((layer := each.layer()).flops(layer.tensors(each.given("train"))) for each in (case, larger))
    for name in ("forward", "d_inputs"):
        if 0 < getattr(two, name) <= getattr(one, name):
            raise Failed(
                f"flops().{name} is {getattr(one, name)} for {case.inputs[0].shape[0]} images, and "
                f"{getattr(two, name)} for {larger.inputs[0].shape[0]}: count the whole batch ({case})"
            )


def _check_pure(case: Case, backend: Any) -> None:
    for phase in PHASES:
        single = case.on(on_paper(backend), phase)
        for direction in single.directions:
            first, again = single.lowered(direction), single.lowered(direction)
            for one, other in zip(first, again, strict=True):
                if one != other:
                    changed = [name for name, value in one.scalars.items() if other.scalars.get(name) != value]
                    what = f"scalars() gives '{changed[0]}'" if changed else "a method answers"
                    raise Failed(f"{what} otherwise when asked twice: methods depend on shapes and attributes alone "
                                 f"({one.kernel}; {case})")  # fmt: skip
