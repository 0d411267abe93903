"""CPU kernels are compiled for ARM too; none is of one processor."""

from __future__ import annotations

import numba
import pytest
from llvmlite import ir
from numba.extending import intrinsic

from netspec.contract.kernel import forward
from netspec.errors import NetspecError
from netspec.gates import aarch64
from netspec.gates.aarch64 import compile_for_arm, cpu_kernels
from netspec.registry import layer_types


def named(kind: str, name: str) -> aarch64.CpuKernel:
    return next(kernel for kernel in cpu_kernels([kind]) if kernel.name == f"{kind}:{name}")


def test_a_kernel_of_plain_loops_is_vectorised_there() -> None:
    assert compile_for_arm(named("dense", "sum_gemv")).spills == 0


@intrinsic
def pause(typing):
    """An instruction that only x86 has."""

    def code(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", fnty=kind), [])
        return context.get_dummy_value()

    return numba.void(), code


@forward("cpu", over="y", axes=0, writes="y")
def pausing(start, stop, x, y):
    for n in range(start, stop):
        pause()
        y[n] = x[n]


def test_an_instruction_of_one_processor_is_told(monkeypatch) -> None:
    floats, whole = numba.types.Array(numba.float32, 1, "C"), numba.types.intp
    monkeypatch.setattr(aarch64, "find_kernel", lambda name: pausing)
    with pytest.raises(NetspecError, match=r"odd:pausing: llvm\.x86\.sse2\.pause is an instruction of x86 alone"):
        compile_for_arm(aarch64.CpuKernel("odd:pausing", "float32", (whole, whole, floats, floats)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(layer_types()))
def test_every_kernel(kind: str) -> None:
    for kernel in cpu_kernels([kind]):
        compile_for_arm(kernel)


@pytest.mark.slow
def test_products_stay_in_the_registers_of_arm() -> None:
    """The register tile of AVX2, 6 x 16 floats, takes 24 of NEON's 32 registers, and 5 for what is multiplied."""
    found = {kernel.name: compile_for_arm(kernel) for kernel in cpu_kernels(["conv"])}
    assert any(one.fused >= 24 and one.spills <= 8 for one in found.values())
