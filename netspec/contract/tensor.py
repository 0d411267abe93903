"""What a layer declares about its data: tensors, parameters, state and workspace. Plain values, made first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

Shape = tuple[int, ...]
_ITEMSIZES = {
    **dict.fromkeys(("float64", "int64", "uint64"), 8), **dict.fromkeys(("float32", "int32", "uint32"), 4),
    "bfloat16": 2, "uint8": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """Shape and dtype of one array; the first axis of inputs and outputs is the batch, the last the channels.

    ``differentiable=False`` marks an output through which no gradient flows (probabilities beside a loss).
    """

    shape: Shape
    dtype: str = "float32"
    differentiable: bool = True

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of storage."""
        return self.size * itemsize(self.dtype)


def itemsize(dtype: str) -> int:
    """Bytes an element of the dtype takes."""
    return _ITEMSIZES[dtype]


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter with a gradient, as one device holds it.

    ``axis`` is cut when the layer is split over devices (None: it cannot be). ``fan_in`` and ``fan_out`` count the
    connections of one output and of one input within the shard; xavier and he read them, the plan sees to it that they
    are those of the whole layer. ``factor``: it is a factor of matrix products, which read it in bfloat16 where the
    layer's input is; the parameter itself, its gradient and what a solver keeps of it are float32 always.
    """

    shape: Shape
    init: Mapping[str, Any]
    axis: int | None = -1
    fan_in: int = 0
    fan_out: int = 0
    dtype: str = "float32"
    factor: bool = False

    def read_as(self, inputs: Iterable[Tensor | None]) -> str:
        """The dtype in which kernels of a layer with these inputs read it."""
        is_narrow = self.factor and any(one is not None and one.dtype == "bfloat16" for one in inputs)
        return "bfloat16" if is_narrow else self.dtype


@dataclass(frozen=True, slots=True)
class State:
    """A tensor that forward renews without a gradient (a running mean), checkpointed like a parameter.

    In kernels ``name`` is the present value and ``next_name`` the buffer for the next; the update commits it.
    """

    shape: Shape
    init: float = 0.0
    axis: int | None = -1
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Scratch memory of a kernel, undefined when a step starts.

    ``step``: one array shared by all passes and blocks of the step. ``member``: one for each member of a CPU team,
    undefined when a block starts (on CUDA there is one member). ``iteration``: a step's too, but where the forward step
    of an iteration has the same one, the backward step takes it as it was left, and its passes that would write it, and
    nothing else, do not run.
    """

    shape: Shape
    dtype: str = "float32"
    per: Literal["step", "member", "iteration"] = "step"


@dataclass(frozen=True, slots=True)
class Flops:
    """Floating-point operations of one shard for a batch, a multiply-add counting 2."""

    forward: int = 0
    d_inputs: int = 0
    d_params: int = 0
