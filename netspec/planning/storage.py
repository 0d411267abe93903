"""What ``train.precision`` comes to on the devices at hand: the dtype in which activations are stored, in words too.

| precision | GPUs of capability 8.0 and later | other GPUs | CPUs that multiply bfloat16 faster | other CPUs |
|---|---|---|---|---|
| float32 | float32 | float32 | float32 | float32 |
| tf32 | factors of products rounded to tf32 | likewise | float32 | float32 |
| bf16 | activations, gradients and factors stored in bfloat16 | factors rounded to bfloat16 | stored too | float32 |

Sums, parameters, what solvers keep, statistics, losses and reports are float32 always. bfloat16 has the exponents of
float32: gradients do not underflow as in float16, and losses are not scaled. Other CPUs predict a few images by dense
weights in bfloat16, see netspec.layers._cpu.bf16_panels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from netspec.contract.variant import Capability
from netspec.spec.types import Precision

Storage = Literal["float32", "bfloat16"]
Capabilities = Mapping[str, Capability | None]
"""By device; None for a CPU that stores no bfloat16, and for a GPU that is not known."""
STORING = (8, 0)
"""The least compute capability of GPUs that multiply bfloat16: those have kernels for it in memory."""


_UNITS = {
    "avx512_bf16": "stored, AVX512-BF16",
    "emulated": "stored, products in float32",
    "weights": "computes in float32, weights stored to predict",
}


def storage_of(precision: Precision, capabilities: Collection[Capability | None]) -> Storage:
    """How activations are stored where the devices have these capabilities.

    One network is stored one way: a single device that cannot makes it float32.
    """
    able = all(map(_stores, capabilities))
    return "bfloat16" if precision == "bf16" and able else "float32"


def bf16_on(capability: Capability | None) -> str:
    """What bf16 comes to on one device, in a few words."""
    if isinstance(capability, str):
        return _UNITS[capability]
    if capability is None:
        return "computes in float32"
    return "stored" if _stores(capability) else "in products"


def _stores(capability: Capability | None) -> bool:
    if isinstance(capability, str):
        return capability != "weights"
    return capability is not None and capability >= STORING


def counting(precision: Precision, capability: Capability | None) -> Capability | None:
    """What counts of a device's capability: that of a CPU, its unit for bfloat16, where a spec asks for that alone."""
    return None if isinstance(capability, str) and precision != "bf16" else capability


def told(precision: Precision, capabilities: Collection[Capability | None]) -> tuple[str, ...]:
    """One line for people where the spec asks for bf16: what became of it."""
    return (f"train.precision bf16: {_meaning(precision, capabilities)}",) if precision == "bf16" else ()


def _meaning(precision: Precision, capabilities: Collection[Capability | None]) -> str:
    if storage_of(precision, capabilities) == "bfloat16":
        emulated = "; products are those of float32" if "emulated" in capabilities else ""
        return f"activations and factors of products are stored in bfloat16, all else in float32{emulated}"
    if None in capabilities:
        return "CPUs compute in float32 here"
    if "weights" in capabilities:
        return "CPUs compute in float32 here, and to predict a few images read weights of dense layers in bfloat16"
    return "factors of products are rounded to bfloat16; memory is float32 before capability 8.0"
