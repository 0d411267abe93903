"""From a kernel's name in a plan (``relu:forward_cpu``) to the marked function."""

from __future__ import annotations

from netspec.contract.kernel import Kernel
from netspec.errors import NetspecError
from netspec.registry import layer_types


def find_kernel(name: str) -> Kernel:
    """The marked function of a name: ``relu:forward_cpu``, ``ops.sum:add_cpu``, ``solvers.sgd:update_cpu``."""
    owner, _, function = name.partition(":")
    kind, _, plain = owner.partition(".")
    if kind == "ops":
        from netspec.ops import operation

        kernels = operation(plain).kernels
    elif kind == "solvers":
        from netspec.solvers import solver_types

        kernels = solver_types()[plain].kernels
    else:
        kernels = layer_types()[owner].kernels
    for kernel in kernels:
        if kernel.function.__name__ == function:
            return kernel
    raise NetspecError(f"layer type '{owner}' has no kernel '{function}'; was the plan made with another version?")
