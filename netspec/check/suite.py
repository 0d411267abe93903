"""The contract suite: named checks that every registered layer type gets for its declarations and kernels.

Those of augmentations, initialisers, schedules and solvers are in files of their own.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from netspec.check import augmentations, initialisers, schedules, solvers
from netspec.check.augmentations import AugmentationSubject
from netspec.check.compare import Failed, Skipped
from netspec.check.declared import check_docs, check_schema, check_shape_errors, check_shapes
from netspec.check.gradient import check_gradients
from netspec.check.initialisers import InitialiserSubject
from netspec.check.phases import check_phases, check_state, check_valid_rows
from netspec.check.precision import check_cuda, check_float32, check_variants
from netspec.check.propagation import check_cuda_non_finite, check_non_finite
from netspec.check.schedules import ScheduleSubject
from netspec.check.shards import check_shards
from netspec.check.solvers import SolverSubject
from netspec.check.subject import Subject
from netspec.check.writes import (
    check_all_outputs,
    check_cuda_again,
    check_deterministic,
    check_in_place,
    check_team,
    check_untouched,
    check_written,
)
from netspec.contract.kernel import Backend
from netspec.errors import NetspecError
from netspec.machine.tasks import counted
from netspec.registry import described, layer_types, registered

Check = Callable[[Any], None]
CHECKS: tuple[Check, ...] = (
    check_docs,
    check_schema,
    check_shapes,
    check_shape_errors,
    check_all_outputs,
    check_written,
    check_untouched,
    check_in_place,
    check_deterministic,
    check_phases,
    check_state,
    check_valid_rows,
    check_gradients,
    check_float32,
    check_variants,
    check_non_finite,
    check_team,
    check_shards,
    check_cuda,
    check_cuda_again,
    check_cuda_non_finite,
)
"""All checks, cheap ones first. Each takes a Subject and returns, or raises Failed or Skipped with the reason."""


_SUITES: Mapping[str, tuple[Callable[[str, Any], Any], Sequence[Check]]] = {
    "augmentations": (AugmentationSubject, augmentations.CHECKS),
    "initialisers": (InitialiserSubject, initialisers.CHECKS),
    "schedules": (ScheduleSubject, schedules.CHECKS),
    "solvers": (SolverSubject, solvers.CHECKS),
}
"""What is checked of kinds other than layers, and how."""

BASIC: tuple[Check, ...] = (check_shapes, check_all_outputs)
"""What the checks after it build on: when one of these fails they would only say the same in other words."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one check; ``about`` says what it checks, ``message`` why it failed or was skipped."""

    name: str
    status: Literal["passed", "failed", "skipped"]
    message: str
    about: str


def checked(name: str, backends: Sequence[Backend] = ("cpu", "cuda")) -> Iterator[Result]:
    """Run the checks one by one on a registered layer type, an augmentation (``augmentations.mirror``), a solver.

    Raises NetspecError when there is nothing of that name, or no suite for things of its kind.
    """
    kind, _, plain = name.partition(".")
    if kind in _SUITES and name in registered():
        make, checks = _SUITES[kind]
        other: Any = make(plain, registered()[name])
        yield from (outcome(check, other) for check in checks)
        return
    if name not in layer_types():
        if name in registered():
            raise NetspecError(f"{described(name)}: there is no contract suite for things of its kind")
        others = [key for key in registered() if key.partition(".")[0] in _SUITES]
        raise NetspecError(f"there is no layer type '{name}'; known are {', '.join(sorted((*layer_types(), *others)))}")
    subject = Subject(name, tuple(backends))
    missing: str | None = None
    told: dict[str, str] = {}
    for check in counted(f"checking {name}", CHECKS):
        result = outcome(check, subject, missing)
        if result.status == "failed":
            missing = missing or (result.name if check in BASIC else None)
            first = told.setdefault(result.message, result.name)
            result = result if first == result.name else replace(result, message=f"as {first} did: the same message")
        yield result


def run(layer_type: str, backends: Sequence[Backend] = ("cpu", "cuda")) -> list[Result]:
    """All results of the suite, see ``checked``."""
    return list(checked(layer_type, backends))


def outcome(check: Check, subject: Any, missing: str | None = None) -> Result:
    """The result of one check, skipped where a basic one failed; what a plugin's code raises is a failure."""
    name, about = check.__name__.removeprefix("check_"), (check.__doc__ or "").strip()
    if missing:
        return Result(name, "skipped", f"needs what {missing} checks", about)
    try:
        check(subject)
    except Skipped as reason:
        return Result(name, "skipped", str(reason), about)
    except (Failed, NetspecError) as problem:
        return Result(name, "failed", str(problem), about)
    except Exception as error:
        told = f"{type(error).__name__}{_place(error, subject)}: {error}"
        return Result(name, "failed", f"{_noun(subject)} raises {told}", about)
    return Result(name, "passed", "", about)


def _noun(subject: Any) -> str:
    return f"the {type(subject).__name__.removesuffix('Subject').lower() or 'layer'}"


def _place(error: Exception, subject: Any) -> str:
    """Where in the layer's own file it was raised; nothing where it was raised by who called the layer."""
    own = getattr(sys.modules.get(subject.cls.__module__), "__file__", None)
    lines = [place.lineno for place in traceback.extract_tb(error.__traceback__) if place.filename == own]
    return f" at {own}:{lines[-1]}" if lines else ""
