"""The gate for ARM: CPU kernels compiled for a 64-bit ARM processor, on whatever this one is, without one at hand.

What it prints is what can be known without running it: that LLVM takes each kernel, the multiply-adds of four floats
(NEON) in it, and how often a register is spilled::

    python -m netspec.gates.aarch64 [TYPE ...]       # all layer types, or these
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from llvmlite import binding

from netspec.check.single import SingleLayer
from netspec.check.subject import Subject
from netspec.contract.tensor import Tensor
from netspec.device.dtypes import numpy_dtype
from netspec.device.kernel_scalars import scalar
from netspec.errors import NetspecError
from netspec.kernels.cpu import llvm_of, type_of
from netspec.kernels.lookup import find_kernel
from netspec.planning.plan import Pass
from netspec.program.passes import arrays_of
from netspec.registry import layer_types

_TRIPLE, _PROCESSOR = "aarch64-unknown-linux-gnu", "neoverse-n1"
_RUNTIME = re.compile(r"^define [^\n]*?(\S+) @(NRT_\w+)\(([^)]*)\)[^\n]*\{.*?^\}", re.MULTILINE | re.DOTALL)
"""Functions of numba's runtime, which was compiled for this processor before any kernel."""
_FUSED, _SPILL = re.compile(r"\bfml[as]\tv\d+\.4s"), re.compile(r"-byte Folded (?:Spill|Reload)")


@dataclass(frozen=True)
class CpuKernel:
    """A kernel and numba's types of its arguments."""

    name: str
    dtype: str
    types: tuple[Any, ...]


@dataclass(frozen=True)
class Compiled:
    """What ARM's code has: multiply-adds of vectors, and spills and reloads of registers."""

    fused: int
    spills: int


def cpu_kernels(types: Sequence[str]) -> Iterator[CpuKernel]:
    """Each CPU kernel of those layer types in float32, with the arguments that their examples give it."""
    paper, seen = cast(Any, SimpleNamespace(kind="cpu", team_size=1, capability=None)), set()
    for name in types:
        variants = {kernel.variant for kernel in layer_types()[name].kernels if "cpu" in kernel.backends}
        for variant in sorted(variants):
            for case in Subject(name).cases:
                one = case.on(paper, "train", variant=variant)
                for kernel in _kernels_of(one) if variant == "plain" or one.layer.supports(one.t, variant) else ():
                    if kernel not in seen:
                        seen.add(kernel)
                        yield kernel


def compile_for_arm(kernel: CpuKernel) -> Compiled:
    """Raises NetspecError where the kernel has instructions of x86, or ones that LLVM does not take for ARM."""
    text = _RUNTIME.sub(_declared, llvm_of(find_kernel(kernel.name).function, kernel.dtype, kernel.types))
    text = "\n".join(line for line in text.splitlines() if not line.startswith("declare") or "@llvm.x86" not in line)
    if (foreign := re.search(r"@(llvm\.x86\.[\w.]+)", text)) is not None:
        raise NetspecError(f"{kernel.name}: {foreign[1]} is an instruction of x86 alone")
    machine = _machine()
    text = re.sub(r"^target triple = .*", f'target triple = "{_TRIPLE}"', text, flags=re.MULTILINE)
    text = re.sub(r"^target datalayout = .*", f'target datalayout = "{machine.target_data}"', text, flags=re.MULTILINE)
    try:
        module = binding.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise NetspecError(f"{kernel.name}: LLVM does not take it for ARM: {error}") from error
    options = binding.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    code = machine.emit_assembly(module)
    return Compiled(len(_FUSED.findall(code)), len(_SPILL.findall(code)))


@cache
def _machine() -> Any:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(_TRIPLE)
    return target.create_target_machine(cpu=_PROCESSOR, opt=3, reloc="pic")


def _declared(found: re.Match[str]) -> str:
    kinds = ", ".join(part.split()[0] for part in found[3].split(",") if part.strip())
    return f"declare {found[1]} @{found[2]}({kinds})"


def _kernels_of(one: SingleLayer) -> Iterator[CpuKernel]:
    for direction in one.directions:
        for item in one.passes(direction):
            if not item.host:
                spaces = arrays_of(one.layer, one.t, item.variant, direction)
                types = (type_of(0), type_of(0), *(type_of(value) for value in _values(one, item, spaces)))
                yield CpuKernel(item.kernel, item.dtype, types)


def _values(one: SingleLayer, item: Pass, spaces: Any) -> Iterator[Any]:
    for name, target in item.args:
        if target is None:
            yield scalar(name, item.scalars[name], item.dtype)
            continue
        tensor: Tensor = one.t.of(target) if target.tensor in one.t.roles else spaces.get(target.tensor, _COUNTERS)
        axes = 1 if target in item.flat else len(tensor.shape)
        yield np.zeros((1,) * axes, numpy_dtype(tensor.dtype))


_COUNTERS = Tensor((1,), "int64")


def main(types: Sequence[str]) -> int:
    """Compile all, print a line each; 1 where one is refused."""
    refused = 0
    for kernel in cpu_kernels(types or tuple(layer_types())):
        try:
            found = compile_for_arm(kernel)
        except NetspecError as error:
            refused += 1
            print(error)
        else:
            print(f"{kernel.name}: {found.fused} multiply-adds of four floats, {found.spills} spills and reloads")
    return min(refused, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
