"""From a kernel's name in a plan (``relu:forward_cpu``) to the marked function."""

from __future__ import annotations

from netspec.contract.kernel import Kernel
from netspec.errors import NetspecError
from netspec.registry import layer_types

_MULTI_TENSOR = "multi_tensor."


def multi_tensor_name(kernel: str, count: int) -> str:
    """The name of a kernel for so many sets of arrays, see netspec.kernels.multi_tensor."""
    return f"{_MULTI_TENSOR}{count}.{kernel}"


def find_kernel(name: str) -> Kernel:
    """The marked function of a name: ``relu:forward_cpu``, ``ops.sum:add_cpu``, ``solvers.sgd:update_cpu``.

    ``multi_tensor.16.solvers.sgd:update_cuda`` is the last for 16 sets of arrays.
    """
    if name.startswith(_MULTI_TENSOR):
        from netspec.kernels.multi_tensor import multi_tensor

        count, _, one = name.removeprefix(_MULTI_TENSOR).partition(".")
        return multi_tensor(find_kernel(one), int(count))
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
