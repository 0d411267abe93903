"""Checks of phases: evaluation without randomness, state renewed in training only, cost layers' valid rows."""

from __future__ import annotations

import numpy as np

from netspec.check.compare import Failed, Skipped, same_bits
from netspec.check.subject import Case, Subject, draw
from netspec.check.writes import trip
from netspec.contract.kernel import Phase

_EVALUATION: tuple[Phase, ...] = ("eval", "predict")


def check_phases(subject: Subject) -> None:
    """Evaluation depends on neither iteration nor chance; predict gives what eval gives, as far as it can."""
    for case in subject.cases:
        values = draw(case, "eval")
        single = case.on(subject.device, "eval")
        first = single.forward(values, 0)
        others = {
            "another iteration": case.on(subject.device, "eval").forward(values, 1),
            "predict": case.on(subject.device, "predict").forward(draw(case, "predict")),
        }
        for what, result in others.items():
            for name in set(first) & set(result):
                with single.blamed(name):
                    same_bits(name, result[name], first[name], f"{what} gives other values than eval ({case})")


def check_state(subject: Subject) -> None:
    """State is renewed in training only, into its next value."""
    names = [name for case in subject.cases for name in case.layer().state(*case.inputs)]
    if not names:
        raise Skipped("the layer has no state")
    for case in subject.cases:
        for phase in _EVALUATION:
            single = case.on(subject.device, phase)
            for one in single.writes("forward"):
                if one.role == "next":
                    writers = single.writers(str(one))
                    raise Failed(f"'{one}' is written in {phase}: mark phases=('train',) what writes it, {writers}")


def check_valid_rows(subject: Subject) -> None:
    """A cost layer counts the valid rows only, whatever the others hold, and gives the others no gradient."""
    if not subject.cls.reports:
        raise Skipped("not a cost layer")
    for case in subject.cases:
        valid = case.inputs[0].shape[0] - 1
        if valid:
            _check_valid_rows(subject, case, valid)


def _check_valid_rows(subject: Subject, case: Case, valid: int) -> None:
    single, values = case.on(subject.device), draw(case)
    spoilt = {name: value.copy() for name, value in values.items()}
    for value in spoilt.values():
        value[valid:] = 50 if value.dtype.kind == "f" else value[0]
    one, two = trip(single, values, valid=valid), trip(single, spoilt, valid=valid)
    with single.blamed("report"):
        if one.forward["report"][-1] != valid:
            raise Failed(f"the report's count is {one.forward['report'][-1]:g} where {valid} rows are valid ({case})")
        same_bits("report", two.forward["report"], one.forward["report"], f"rows that are not valid change it ({case})")
    for name, array in one.backward.items():
        rest = array[valid:]
        with single.blamed(name):
            same_bits(name, rest, np.zeros_like(rest), f"rows from {valid} on are not valid and must be 0 ({case})")
