"""All CUDA kernels with the types they are compiled for: layers by their examples, operations by a shipped network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import groupby, product
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from netspec.check.single import SingleLayer
from netspec.check.subject import Case, Subject, complete
from netspec.contract.kernel import PHASES, Backend, Direction
from netspec.contract.layer import Layer, Tensors
from netspec.contract.naming import COUNTERS, Argument
from netspec.contract.tensor import Shape, Tensor
from netspec.kernels.lookup import find_kernel
from netspec.ops import operations
from netspec.planning.plan import Pass, Plan
from netspec.planning.storage import Storage
from netspec.program.passes import arrays_of
from netspec.registry import layer_types
from netspec.solvers import solver_types

_OTHERS: Mapping[str, tuple[str, ...]] = {
    "primitive:gemm": ("float32[2C]", "float32[2C]", "float32[2C]", "int64", "boolean", "boolean"),
    "primitive:sum_rows": ("float32[2C]", "float32[1C]"),
    "primitive:add_row": ("float32[2C]", "float32[1C]"),
    "ops.sum:zero_cuda": ("float32[2C]",),
    "ops.sum:zero_vector_cuda": ("float32[2C]",),
    "ops.sum:add_cuda": ("float32[2A]", "float32[2A]", "float32[2A]"),
    "ops.commit:commit_cuda": ("float32[1C]", "float32[1C]", "int32[1C]"),
}
"""The primitives, and what AlexNet has no use for."""
_STORAGES: tuple[Storage, ...] = ("float32", "bfloat16")
_WIDE, _BIASES = {"filters": 768, "size": 3, "pad": 1}, (True, False)
STORED_BFLOAT16: Mapping[str, tuple[tuple[Mapping[str, Any], Shape], ...]] = {
    "conv": tuple(({**_WIDE, "bias": bias}, (2, 5, 5, depth)) for depth in (768, 48, 3) for bias in _BIASES),
    "dense": tuple(({"units": 768, "bias": bias}, (128, 6144)) for bias in _BIASES),
    **dict.fromkeys(("concat", "dropout", "lrn", "pool", "relu", "softmax_loss"), ()),
}
"""AlexNet's layers, whose kernels come once more with bfloat16: with their examples, and attributes and inputs that
kernels of all tiles support, those for products in that dtype among them."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A kernel, and the types of its arguments: ``float32[2C]`` for a C-contiguous matrix, ``A`` for any strides.

    ``then`` names the kernels of elementwise layers that are its epilogue; ``bound`` as in Pass.
    """

    kernel: str
    variant: str
    types: tuple[str, ...]
    then: tuple[str, ...] = ()
    bound: int = 0

    @property
    def name(self) -> str:
        """Kernel and types on one line."""
        return " + ".join((f"{self.kernel}({', '.join(self.types)})", *self.then))


@cache
def cuda_signatures() -> tuple[Signature, ...]:
    """Every kernel of every registered layer, operation and primitive, once for each set of types.

    Those that store through an epilogue come once more, with a fused ReLU.
    """
    found: dict[str, Signature] = {}
    others = (Signature(name, "plain", types) for name, types in _OTHERS.items())
    for one in (*_of_layers(), *_of_operations(), *others):
        found.setdefault(one.name, one)  # several variants may share a kernel
    first = {one.kernel: one for one in reversed(found.values()) if not one.kernel.startswith("primitive:")}
    several: dict[tuple[str, bool, tuple[str, ...]], Signature] = {}
    for name, one in first.items():
        if find_kernel(name).has_epilogue:  # one of a layer's fast variants stands for all
            several[name.partition(":")[0], one.variant == "plain", one.types] = one
    fused = (replace(one, then=(f"relu:{find_kernel(one.kernel).direction}_cuda",)) for one in several.values())
    return (*found.values(), *fused)


def uncovered() -> list[str]:
    """CUDA kernels of layers and operations that are not among the signatures: no example runs them."""
    covered = {one.kernel for one in cuda_signatures()}
    owners = {
        **layer_types(),
        **{f"ops.{name}": chosen for name, chosen in operations().items()},
        **{f"solvers.{name}": chosen for name, chosen in solver_types().items()},
    }
    marked = [
        f"{name}:{kernel.function.__name__}"
        for name, owner in owners.items()
        for kernel in owner.kernels
        if kernel.backends == ("cuda",) and not kernel.host
    ]
    return [name for name in marked if name not in covered]


def function_of(kernel: str) -> Callable[..., Any]:
    """The Python function behind a kernel's name."""
    if kernel.startswith("primitive:"):
        from netspec.device.cuda import ops

        return cast("Callable[..., Any]", getattr(ops, kernel.partition(":")[2]))
    return find_kernel(kernel).function


def _of_layers() -> Iterator[Signature]:
    compiler = cast(Any, SimpleNamespace(kind="cuda", team_size=1))
    for name, cls in layer_types().items():
        if not any("cuda" in kernel.backends for kernel in cls.kernels):
            continue
        for variant, case, phase in product(_variants(cls), _cases(name), PHASES):
            one = case.on(compiler, phase, variant=variant)
            if variant == "plain" or one.layer.supports(one.t, variant):
                yield from signatures_of(one)


def _cases(name: str) -> Iterator[Case]:
    """A layer's examples, and for some with bfloat16."""
    cls, cases = layer_types()[name], Subject(name).cases
    yield from cases
    if name in STORED_BFLOAT16:
        yield from (case.stored_as_bfloat16() for case in cases)
        for attrs, shape in STORED_BFLOAT16[name]:
            yield Case(cls, complete(cls, attrs), (Tensor(shape, "bfloat16"),))


def _variants(cls: type[Layer]) -> list[str]:
    """The plain one first: kernels that others share with it must do for all GPUs that it is for."""
    found = dict.fromkeys(kernel.variant for kernel in cls.kernels if "cuda" in kernel.backends)
    return sorted(found, key=lambda variant: variant != "plain")


def signatures_of(one: SingleLayer) -> Iterator[Signature]:
    """Those of a layer's passes, both directions in training."""
    directions: tuple[Direction, ...] = ("forward", "backward") if one.layer.phase == "train" else ("forward",)
    for direction in directions:
        for item in one.passes(direction):
            if not item.host:
                spaces = arrays_of(one.layer, one.t, item.variant, direction)
                yield _signature(item, partial(_declared, one.t, spaces))


def _declared(t: Tensors, arrays: Mapping[str, Tensor], target: Argument) -> tuple[str, int, str]:
    if target == COUNTERS:
        return "int64", 1, "C"
    tensor = t.of(target) if target.tensor in t.roles else arrays[target.tensor]
    return tensor.dtype, len(tensor.shape), "C"


def _of_operations() -> Iterator[Signature]:
    """The operations of AlexNet's steps; slices, which only sums read, are compiled for any strides.

    Once more where its activations are stored as bfloat16.
    """
    from netspec.planning import build
    from netspec.spec import load

    for phase, storage in product(PHASES, _STORAGES):
        yield from _of_plan(build(load("alexnet", ["train.ema={}"]), phase, 2, storage=storage))
    yield from _of_plan(build(load("alexnet", ["replicas=4"]), "train", 4))
    yield from _of_plan(build(load("resnet18", ["layers.conv1.split=batch"]), "train", 4))
    yield from _of_plan(build(load("alexnet"), "eval", 2, resident={"image": (1000, 256, 256, 3)}))
    one = load("alexnet-one-device", ["train.ema={}"])
    for storage in _STORAGES:
        yield from _of_plan(build(one, "train", 2, storage=storage), merged=True)
    for name, clip, storage in product(solver_types(), ("null", "1.0"), _STORAGES):
        spec = load("alexnet", [f"train.solver={name}", f"train.clip_norm={clip}"])
        yield from _of_plan(build(spec, "train", 2, storage=storage))


def _of_plan(plan: Plan, merged: bool = False) -> Iterator[Signature]:
    """Those of the operations of a plan; ``merged``: where several steps are one."""
    from netspec.program.multi_tensor_steps import merge
    from netspec.program.steps import Lowering

    kinds: dict[str, Backend] = dict.fromkeys(plan.devices, "cuda")
    lowering = Lowering(plan, kinds, dict.fromkeys(plan.devices, 1), 0)
    steps = [lowering.lower(step) for step in plan.steps if step.op not in ("forward", "backward")]
    for step in merge(steps, plan.buffers, kinds) if merged else steps:
        for item in step.passes:

            def declared(target: Argument, step: Any = step) -> tuple[str, int, str]:
                region = step.args[target]
                buffer = plan.buffers[region.buffer]
                axes = 2 if step.op == "sum" else len(buffer.shape)
                return buffer.dtype, axes, "A" if region.axis else "C"

            yield _signature(item, declared)


def _signature(one: Pass, declared: Callable[[Argument], tuple[str, int, str]]) -> Signature:
    types = []
    for name, target in one.args:
        if name in one.maps:
            types.append("uint8[1C]")
            continue
        if target is None:
            types.append(_scalar(name, one.scalars[name]))
            continue
        dtype, axes, layout = declared(target)
        types.append(f"{dtype}[{1 if target in one.flat else axes}{layout}]")
    return Signature(one.kernel, one.variant, tuple(types), bound=one.bound)


def _scalar(name: str, value: Any) -> str:
    if name == "key":
        return "uint64"
    if isinstance(value, tuple):
        runs = groupby(_scalar("", part) for part in value)
        return "+".join(f"{kind}*{len(list(parts))}" for kind, parts in runs)
    if isinstance(value, bool | np.bool_):
        return "boolean"
    return "float32" if isinstance(value, float) else "int64"
