"""From a kernel's name in a plan (``relu:forward_cpu``) to the marked function."""

from __future__ import annotations

from netspec.contract.kernel import Kernel
from netspec.errors import NetspecError
from netspec.registry import layer_types


def find_kernel(name: str) -> Kernel:
    """The marked function of a layer type, or of a built-in operation (``ops.update:update_cpu``)."""
    owner, _, function = name.partition(":")
    if owner.startswith("ops."):
        from netspec.ops import operation

        kernels = operation(owner.removeprefix("ops.")).kernels
    else:
        kernels = layer_types()[owner].kernels
    for kernel in kernels:
        if kernel.function.__name__ == function:
            return kernel
    raise NetspecError(f"layer type '{owner}' has no kernel '{function}'; was the plan made with another version?")
