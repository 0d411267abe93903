"""What ``train.precision`` comes to on the devices at hand: the dtype in which activations are stored, in words too.

| precision | GPUs of compute capability 9.0 | other GPUs | CPUs |
|---|---|---|---|
| float32 | float32 | float32 | float32 |
| tf32 | factors of products rounded to tf32 | likewise | float32 |
| bf16 | activations, gradients of them and factors stored in bfloat16 | factors rounded to bfloat16 | float32 |

Sums, parameters, what solvers keep, statistics, losses and reports are float32 always. bfloat16 has the exponents of
float32: gradients do not underflow as in float16, and losses are not scaled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from netspec.spec.types import Precision

Storage = Literal["float32", "bfloat16"]
Capabilities = Mapping[str, tuple[int, int] | None]
"""Compute capabilities by device; None for a CPU, and for a GPU that is not known."""
STORING = (9, 0)
"""Compute capability of the GPUs that have kernels for bfloat16 in memory."""


def storage_of(precision: Precision, capabilities: Collection[tuple[int, int] | None]) -> Storage:
    """How activations are stored where the devices have these compute capabilities, None for a CPU.

    One network is stored one way: a single device that cannot makes it float32.
    """
    able = all(capability == STORING for capability in capabilities)
    return "bfloat16" if precision == "bf16" and able else "float32"


def bf16_on(capability: tuple[int, int] | None) -> str:
    """What bf16 comes to on one device, in a word or two."""
    return "computes in float32" if capability is None else "stored" if capability == STORING else "in products"


def told(precision: Precision, capabilities: Collection[tuple[int, int] | None]) -> tuple[str, ...]:
    """One line for people where the spec asks for bf16: what became of it."""
    return (f"train.precision bf16: {_meaning(precision, capabilities)}",) if precision == "bf16" else ()


def _meaning(precision: Precision, capabilities: Collection[tuple[int, int] | None]) -> str:
    if storage_of(precision, capabilities) == "bfloat16":
        return "activations and factors of products are stored in bfloat16, all else in float32"
    if None in capabilities:
        return "CPUs compute in float32"
    return "factors of products are rounded to bfloat16; memory is float32 but on capability 9.0"
