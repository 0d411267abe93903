"""All CUDA kernels with the types they are compiled for: layers by their examples, operations by a shipped network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, product
from types import SimpleNamespace
from typing import Any, cast, get_args

import numpy as np

from netspec.check.single import SingleLayer
<<<<<<< HEAD
from netspec.check.subject import Case, Subject, complete
=======
from netspec.check.subject import Case, Subject
>>>>>>> 7a77295 (A check of kernels on activations stored as bfloat16; the compile gate has AlexNet's kernels so)
from netspec.contract.kernel import PHASES, Direction
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
<<<<<<< HEAD
_WIDE = {"filters": 768, "size": 3, "pad": 1}
_STORED_BFLOAT16: Mapping[str, tuple[tuple[Mapping[str, Any], tuple[int, ...]], ...]] = {
    "conv": (
        (_WIDE, (2, 5, 5, 768)),
        ({**_WIDE, "bias": False}, (2, 5, 5, 768)),
        (_WIDE, (2, 5, 5, 3)),
        ({**_WIDE, "bias": False}, (2, 5, 5, 3)),
    ),
    "dense": (({"units": 768}, (128, 6144)), ({"units": 768, "bias": False}, (128, 6144))),
}
"""Attributes and inputs in bfloat16 that kernels of all tiles support, those for products in that dtype among them."""
=======
_BOTH = (True, False)
NARROW: Mapping[str, tuple[tuple[Mapping[str, Any], Shape], ...]] = {
    "conv": (
        *(({"filters": n, "size": 3, "pad": 1, "bias": bias}, (1, 13, 13, n)) for n in (192, 256) for bias in _BOTH),
        *(({"filters": 96, "size": 11, "stride": 4, "pad": 0, "bias": bias}, (1, 51, 51, 3)) for bias in _BOTH),
    ),
    "dense": tuple(({"units": 4096, "bias": bias}, (128, 4096)) for bias in _BOTH),
    **dict.fromkeys(("concat", "dropout", "lrn", "pool", "relu", "softmax_loss"), ()),
}
"""AlexNet's layers, whose kernels come once more with activations that are stored as bfloat16.

By type attributes and inputs that suit Hopper's products, which no example is large enough for.
"""
>>>>>>> 7a77295 (A check of kernels on activations stored as bfloat16; the compile gate has AlexNet's kernels so)


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


def cuda_signatures() -> Iterator[Signature]:
    """Every kernel of every registered layer, operation and primitive, once for each set of types.

    Those that store through an epilogue come once more, with a fused ReLU.
    """
    found: dict[str, Signature] = {}
    others = (Signature(name, "plain", types) for name, types in _OTHERS.items())
    for one in (*_of_layers(), *_of_operations(), *others):
        found.setdefault(one.name, one)  # several variants may share a kernel
    yield from found.values()
    first = {one.kernel: one for one in reversed(found.values()) if not one.kernel.startswith("primitive:")}
    several: dict[tuple[str, bool, tuple[str, ...]], Signature] = {}
    for name, one in first.items():
        if find_kernel(name).has_epilogue:  # one of a layer's fast variants stands for all
            several[name.partition(":")[0], one.variant == "plain", one.types] = one
    for one in several.values():
        yield replace(one, then=(f"relu:{find_kernel(one.kernel).direction}_cuda",))


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
<<<<<<< HEAD
        for variant, case, phase in product(_variants(cls), (*Subject(name).cases, *_stored_bfloat16(cls)), PHASES):
=======
        for variant, case, phase in product(_variants(cls), _cases(name), PHASES):
>>>>>>> 7a77295 (A check of kernels on activations stored as bfloat16; the compile gate has AlexNet's kernels so)
            one = case.on(compiler, phase, variant=variant)
            if variant == "plain" or one.layer.supports(one.t, variant):
                yield from _of_single(one)


<<<<<<< HEAD
def _stored_bfloat16(cls: type[Layer]) -> Iterator[Case]:
    for attrs, shape in _STORED_BFLOAT16.get(cls.type, ()):
        yield Case(cls, complete(cls, attrs), (Tensor(shape, "bfloat16"),))
=======
def _cases(name: str) -> Iterator[Case]:
    """A layer's examples, and for some with bfloat16."""
    cases = Subject(name).cases
    yield from cases
    if name in NARROW:
        first = cases[0]
        sized = (replace(first, attrs={**first.attrs, **own}, inputs=(Tensor(shape),)) for own, shape in NARROW[name])
        yield from (case.stored_as_bfloat16() for case in (*cases, *sized))
>>>>>>> 7a77295 (A check of kernels on activations stored as bfloat16; the compile gate has AlexNet's kernels so)


def _variants(cls: type[Layer]) -> list[str]:
    """The plain one first: kernels that others share with it must do for all GPUs that it is for."""
    found = dict.fromkeys(kernel.variant for kernel in cls.kernels if "cuda" in kernel.backends)
    return sorted(found, key=lambda variant: variant != "plain")


def _of_single(one: SingleLayer) -> Iterator[Signature]:
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

    for phase, storage in product(PHASES, get_args(Storage)):
        yield from _of_plan(build(load("alexnet", ["train.ema={}"]), phase, 2, storage=storage))
    yield from _of_plan(build(load("alexnet", ["replicas=4"]), "train", 4))
    yield from _of_plan(build(load("alexnet"), "eval", 2, resident={"image": (1000, 256, 256, 3)}))
    for name, clip, storage in product(solver_types(), ("null", "1.0"), ("float32", "bfloat16")):
        spec = load("alexnet", [f"train.solver={name}", f"train.clip_norm={clip}"])
        yield from _of_plan(build(spec, "train", 2, storage=storage))


def _of_plan(plan: Plan) -> Iterator[Signature]:
    from netspec.program.steps import Lowering

    lowering = Lowering(plan, dict.fromkeys(plan.devices, "cuda"), dict.fromkeys(plan.devices, 1), 0)
    for step in plan.steps:
        if step.op in ("forward", "backward"):
            continue
        for item in lowering.lower(step).passes:

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
