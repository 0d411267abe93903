"""The contract suite: named checks that every registered layer type gets for its declarations and kernels.

Those of augmentations, callbacks, composites, initialisers, metrics, schedules, solvers and sources are in files of
their own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from netspec.check import augmentations, callbacks, composites, initialisers, metric_suite, schedules, solvers, sources
from netspec.check.augmentations import AugmentationSubject
from netspec.check.callbacks import CallbackSubject
from netspec.check.compare import Failed, Skipped
from netspec.check.composites import CompositeSubject
from netspec.check.constancy import check_constancy
from netspec.check.declared import check_docs, check_schema, check_shape_errors, check_shapes
from netspec.check.double_precision import check_cuda_float64
from netspec.check.gradient import check_gradients
from netspec.check.half_storage import check_bfloat16, check_cuda_bfloat16
from netspec.check.initialisers import InitialiserSubject
from netspec.check.kernel_source import check_calls, check_imports
from netspec.check.mark_options import check_marks
from netspec.check.metric_suite import MetricSubject
from netspec.check.phases import check_phases, check_state, check_valid_rows
from netspec.check.precision import check_cuda, check_float32, check_variants
from netspec.check.propagation import check_cuda_non_finite, check_non_finite
from netspec.check.replicas import check_replicas
from netspec.check.schedules import ScheduleSubject
from netspec.check.setting_schema import check_schema as check_settings
from netspec.check.shards import check_shards
from netspec.check.sizes import check_indices, check_sizes
from netspec.check.solvers import SolverSubject
from netspec.check.sources import SourceSubject
from netspec.check.subject import Subject
from netspec.check.writes import (
    check_all_outputs,
    check_cuda_again,
    check_deterministic,
    check_in_place,
    check_team,
    check_written,
)
from netspec.contract.kernel import Backend
from netspec.contract.source_place import file_of, raised_at
from netspec.errors import NetspecError
from netspec.machine.marks import mark
from netspec.machine.tasks import counted
from netspec.registry import described, layer_types, registered

Check = Callable[[Any], None]
CHECKS: tuple[Check, ...] = (
    check_docs,
    check_imports,
    check_calls,
    check_schema,
    check_shapes,
    check_shape_errors,
    check_marks,
    check_all_outputs,
    check_constancy,
    check_indices,
    check_written,
    check_sizes,
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
    check_replicas,
    check_bfloat16,
    check_cuda,
    check_cuda_again,
    check_cuda_non_finite,
    check_cuda_float64,
    check_cuda_bfloat16,
)
"""All checks, cheap ones first. Each takes a Subject and returns, or raises Failed or Skipped with the reason."""


_SUITES: Mapping[str, tuple[Callable[[str, Any], Any], Sequence[Check]]] = {
    "augmentations": (AugmentationSubject, augmentations.CHECKS),
    "callbacks": (CallbackSubject, callbacks.CHECKS),
    "composites": (CompositeSubject, composites.CHECKS),
    "initialisers": (InitialiserSubject, initialisers.CHECKS),
    "metrics": (MetricSubject, metric_suite.CHECKS),
    "schedules": (ScheduleSubject, schedules.CHECKS),
    "solvers": (SolverSubject, solvers.CHECKS),
    "sources": (SourceSubject, sources.CHECKS),
}
"""What is checked of kinds other than layers, and how."""

BASIC: tuple[Check, ...] = (
    check_calls,
    check_shapes,
    check_marks,
    check_all_outputs,
    check_indices,
    check_written,
    check_deterministic,
    check_settings,
)
"""What all checks after it build on: when one of these fails they would only say the same in other words."""
REFERENCE: tuple[Check, ...] = (check_gradients, check_float32)
"""What makes the plain kernels of CPUs a reference, for the checks in ``NEEDS``."""
NEEDS: Mapping[Check, tuple[Check, ...]] = {
    check_gradients: (check_sizes, check_valid_rows),
    check_variants: REFERENCE,
    check_non_finite: (*REFERENCE, check_variants),
    check_team: (check_sizes,),
    check_replicas: (*REFERENCE, check_sizes, check_shards),
    check_cuda: (*REFERENCE, check_phases),
    check_cuda_again: (*REFERENCE, check_cuda),
    check_cuda_non_finite: (*REFERENCE, check_cuda, check_non_finite),
    check_cuda_float64: (check_cuda,),
    check_bfloat16: (*REFERENCE, check_sizes, check_variants),
    check_cuda_bfloat16: (*REFERENCE, check_cuda),
    composites.check_same_again: (composites.check_plans,),
    augmentations.check_workers: (augmentations.check_view, augmentations.check_pixels, augmentations.check_draws),
    callbacks.check_later_events: (callbacks.check_run,),
}


BACKENDS: tuple[Backend, ...] = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one check; ``about`` says what it checks, ``message`` why it failed or was skipped."""

    name: str
    status: Literal["passed", "failed", "skipped"]
    message: str
    about: str
    cause: str = ""
    """The same for all failures that one mistake in a kernel leads to, see KernelError; "" where that is not known."""


def checked(name: str, backends: Sequence[Backend] | None = None) -> Iterator[Result]:
    """Run the checks one by one on a registered layer type, an augmentation (``augmentations.mirror``), a solver.

    ``backends`` are those whose kernels the layer must have, and that must be had; None checks whatever can be.
    Raises NetspecError when there is nothing of that name, or no suite for things of its kind.
    """
    kind, _, plain = name.partition(".")
    if kind in _SUITES and name in registered():
        make, checks = _SUITES[kind]
        yield from _results(checks, make(plain, registered()[name]))
        return
    if name not in layer_types():
        if name in registered():
            raise NetspecError(f"{described(name)}: there is no contract suite for things of its kind")
        others = [key for key in registered() if key.partition(".")[0] in _SUITES]
        raise NetspecError(f"there is no layer type '{name}'; known are {', '.join(sorted((*layer_types(), *others)))}")
    subject = Subject(name, tuple(backends or BACKENDS), tuple(backends or ()))
    yield from _results(counted(f"checking {name}", CHECKS), subject)


def _results(checks: Iterable[Check], subject: Any) -> Iterator[Result]:
    """Of one check after the other, without those that would only say again what one before has told."""
    failed: list[Check] = []
    told: dict[str, str] = {}
    for check in checks:
        needed = [one for one in failed if one in BASIC or one in NEEDS.get(check, ())]
        result = outcome(check, subject, _name(needed[0]) if needed else None)
        if result.status == "failed":
            failed.append(check)
            first = told.setdefault(result.cause or result.message, result.name)
            if first != result.name:
                result = replace(result, status="skipped", message=f"meets what {first} tells of")
        yield result


def check_names(name: str) -> list[str]:
    """Names of the checks that a layer type, or what else is registered by that name, gets."""
    kind = name.partition(".")[0]
    return [_name(check) for check in (_SUITES[kind][1] if kind in _SUITES else CHECKS)]


def run(layer_type: str, backends: Sequence[Backend] | None = None) -> list[Result]:
    """All results of the suite, see ``checked``."""
    return list(checked(layer_type, backends))


def outcome(check: Check, subject: Any, missing: str | None = None) -> Result:
    """The result of one check, skipped where a basic one failed; what a plugin's code raises is a failure."""
    name, about = _name(check), (check.__doc__ or "").strip()
    mark(lambda: "")
    if missing:
        return Result(name, "skipped", f"needs what {missing} checks", about)
    try:
        check(subject)
    except Skipped as reason:
        return Result(name, "skipped", str(reason), about)
    except (Failed, NetspecError) as problem:
        message = f"{problem}{_owner(str(problem), subject)}"
        return Result(name, "failed", message, about, getattr(problem, "cause", ""))
    except Exception as error:
        told = f"{type(error).__name__}{_place(error, subject)}: {error}"
        return Result(name, "failed", f"{_noun(subject)} raises {told}", about)
    return Result(name, "passed", "", about)


def _name(check: Check) -> str:
    return check.__name__.removeprefix("check_")


def _noun(subject: Any) -> str:
    return f"the {type(subject).__name__.removesuffix('Subject').lower() or 'layer'}"


def _owner(message: str, subject: Any) -> str:
    """Where the class stands, for a message that names no line of its file."""
    file = file_of(subject.cls)
    if file is None or f"{file}:" in message:
        return ""
    with suppress(OSError):
        return f"; {_noun(subject)} is {file}:{inspect.getsourcelines(subject.cls)[1]}"
    return ""


def _place(error: Exception, subject: Any) -> str:
    """Where in the layer's own file it was raised; nothing where it was raised by who called the layer."""
    where = raised_at(error, file_of(subject.cls))
    return f" at {where}" if where else ""
