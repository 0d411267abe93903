"""What the processor does with bfloat16, decided once a process: whether CPU devices store it, and what multiplies it.

A processor may multiply bfloat16 slower than float32, as Intel's vdpbf16ps does: so the two are timed, and what came
out is kept for the model, beside the compiled kernels.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from netspec.contract.variant import CpuUnit
from netspec.errors import NetspecError
from netspec.kernels.cache import cache_root
from netspec.machine.atomic_files import write_text
from netspec.machine.environment import BF16_VARIABLE, processor

_PAYS = 1.3
"""From how many times the rate of float32 on bfloat16 is stored."""
_FEATURES = ("avx512f", "avx512vl", "avx512bf16")
_SUMS, _ROUNDS, _TRIES = 12, 40_000, 7
"""Vectors that are summed up side by side, which hides what one product waits for the one before; products of each in a
call, about half a millisecond; calls, of which the fastest counts."""


@functools.cache
def cpu_bfloat16() -> CpuUnit | None:
    """What CPU devices of this process do with bfloat16 in memory; None: they store float32 alone.

    NETSPEC_CPU_BF16 says ``off``, or ``emulate``: stored on any processor, and widened for products. Raises
    NetspecError where it says anything else.
    """
    asked = os.environ.get(BF16_VARIABLE, "")
    if asked not in ("", "off", "emulate"):
        raise NetspecError(f"{BF16_VARIABLE} is '{asked}': it may be off or emulate, or unset")
    if asked:
        return "emulated" if asked == "emulate" else None
    return "avx512_bf16" if _has_unit() and _gain() >= _PAYS else "weights"


def _has_unit() -> bool:
    """Whether kernels are compiled for AVX512-BF16: what numba is told not to use counts as missing."""
    return all(f"+{one}" in _target()[1].split(",") for one in _FEATURES)


def _target() -> tuple[str, str]:
    """The processor and the features for which numba compiles."""
    from numba.core.registry import cpu_target

    codegen = cpu_target.target_context.codegen()
    return codegen._get_host_cpu_name(), codegen._tm_features


def _gain() -> float:
    """How many times the products of float32 those of bfloat16 come to in a second, as kept or as timed."""
    path, model = cache_root() / "tuned" / "bfloat16-units.json", processor()
    known: dict[str, float] = {}
    with suppress(OSError, ValueError):
        known = {str(name): float(gain) for name, gain in json.loads(path.read_text()).items()}
    if model not in known:
        known[model] = _timed()
        with suppress(OSError, NetspecError):  # then it is timed in each process
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(known, indent=1) + "\n")
    return known[model]


def _timed() -> float:
    """The same, timed: products and sums in registers alone, in turns."""
    engine = _compiled()
    calls = [ctypes.CFUNCTYPE(None)(engine.get_function_address(name)) for name in _PRODUCTS]
    tries = [[_seconds(call) for call in calls] for _ in range(_TRIES)]
    seconds = [min(times) for times in zip(*tries, strict=True)]
    return float(2 * seconds[0] / seconds[1])  # an instruction multiplies two bfloat16 for each sum


def _seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


_PRODUCTS = {
    "float32": "@llvm.fma.v16f32(<16 x float> %a, <16 x float> %a, <16 x float> {})",
    "bfloat16": "@llvm.x86.avx512bf16.dpbf16ps.512(<16 x float> {}, <32 x bfloat> %b, <32 x bfloat> %b)",
}
"""What is timed, in LLVM's words."""
_MODULE = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)
@given = global <16 x float> zeroinitializer
@taken = global <16 x float> zeroinitializer
"""


def _compiled() -> Any:
    """An engine with one function for each of the products."""
    from llvmlite import binding

    module = binding.parse_assembly(_MODULE + "".join(_loop(*each) for each in _PRODUCTS.items()))
    name, features = _target()
    machine = binding.Target.from_default_triple().create_target_machine(cpu=name, features=features, opt=3, jit=True)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


def _loop(name: str, product: str) -> str:
    sums = range(_SUMS)
    begun = "\n".join(f"  %s{n} = phi <16 x float> [ %a, %entry ], [ %n{n}, %loop ]" for n in sums)
    steps = "\n".join(f"  %n{n} = call <16 x float> {product.format(f'%s{n}')}" for n in sums)
    ends = "\n".join(f"  store volatile <16 x float> %n{n}, ptr @taken" for n in sums)
    return f"""
define void @{name}() {{
entry:
  %a = load volatile <16 x float>, ptr @given
  %b = bitcast <16 x float> %a to <32 x bfloat>
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
{begun}
{steps}
  %j = add i64 %i, 1
  %more = icmp ult i64 %j, {_ROUNDS}
  br i1 %more, label %loop, label %end
end:
{ends}
  ret void
}}
"""
