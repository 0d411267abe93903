"""The check that CUDA kernels in float32 have no arithmetic of double precision, read from their PTX."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from netspec.check.compare import Failed
from netspec.check.kernel_source import reached
from netspec.check.single import SingleLayer
from netspec.check.subject import Subject
from netspec.check.writes import variants_on
from netspec.contract.kernel import PHASES, Kernel
from netspec.contract.naming import COUNTERS, Argument
from netspec.contract.source_place import place_of
from netspec.device.cuda.arguments import arguments
from netspec.kernels.lookup import find_kernel
from netspec.planning.plan import Pass
from netspec.program.passes import arrays_of

_DOUBLE = re.compile(r"^\s*(?:@!?%\w+\s+)?((?:add|sub|mul|div|fma|rcp|sqrt|neg|min|max|setp)\S*\.f64)\b", re.MULTILINE)
_COMPUTED_FOR = (9, 0)


def check_cuda_float64(subject: Subject) -> None:
    """CUDA kernels in float32 do no arithmetic in float64, which most GPUs do 32 times slower or more."""
    device = subject.gpu
    done: set[str] = set()
    for case in subject.cases:
        for phase in PHASES:
            for single in variants_on(device, case, phase):
                for one, kernel in _compiled(single):
                    if one.kernel not in done and not _wants_double(kernel):
                        _check(single, one, kernel)
                    done.add(one.kernel)


def _compiled(single: SingleLayer) -> Iterator[tuple[Pass, Kernel]]:
    for one in (one for direction in single.directions for one in single.passes(direction)):
        if not one.host:
            yield one, find_kernel(one.kernel)


def _wants_double(kernel: Kernel) -> bool:
    """Whether the source says so: the author knows what it costs."""
    functions = [one for one in reached(kernel.function) if not hasattr(one, "__netspec_source__")]
    return any("float64" in inspect.getsource(one) for one in functions)


def _check(single: SingleLayer, one: Pass, kernel: Kernel) -> None:
    from netspec.kernels import numba_cuda
    from netspec.kernels.cuda import ptx_of, ptx_with_lines

    known = single.device.capability
    card = known if isinstance(known, tuple) else _COMPUTED_FOR
    values = arguments(one, _Arrays(single, one, kernel), lambda *_: np.zeros(128, np.uint8))
    types = tuple(map(numba_cuda.type_of, values))
    target = (*card, "a") if card >= _COMPUTED_FOR else card
    asked = (kernel.function, one.dtype, None, types, target, one.bound)
    found = Counter(_DOUBLE.findall(ptx_of(*asked)))
    if found:
        place = _place(ptx_with_lines(*asked)) or place_of(kernel.function)
        kinds = ", ".join(f"{count} {name}" for name, count in found.most_common(3))
        raise Failed(
            f"{place}: {kernel.function.__name__} computes in float64 on GPUs ({kinds}): a float divided by, "
            "multiplied with or added to a whole number is one; write x.dtype.type(n), or 1.0 for 1, or np.float64 "
            "where it is meant"
        )


def _place(text: str) -> str:
    """Where in the source the first such instruction comes from."""
    from netspec.emulate.ptx.line_info import located

    _, frames = next(located(text, _DOUBLE), ("", ()))
    return f"{frames[0].file}:{frames[0].line}" if frames else ""


class _Arrays(dict[Argument, Any]):
    """Arrays of the right type for a pass, by what they stand for; nothing reads them."""

    def __init__(self, single: SingleLayer, one: Pass, kernel: Kernel) -> None:
        super().__init__()
        self.tensors = arrays_of(single.layer, single.t, one.variant, kernel.direction)
        self.per_member = one.per_member

    def __missing__(self, target: Argument) -> Any:
        if target == COUNTERS:
            return np.zeros(2, np.int64)
        tensor = self.tensors[target.tensor]
        return np.empty((*((1,) if target in self.per_member else ()), *tensor.shape), tensor.dtype)
