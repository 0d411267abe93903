"""Variants: the ways in which a layer can be computed on a backend, each with what decides whether it is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

from netspec.contract.kernel import Backend, Direction, Kernel
from netspec.contract.tensor import Workspace

CpuUnit = Literal["avx512_bf16", "emulated", "weights"]
"""What a CPU does with bfloat16: it multiplies it, by instructions of its own or by those for float32, or computes in
float32 and stores no more than weights that are read for predictions."""
Capability = tuple[int, int] | CpuUnit
"""What devices of one kind differ in: a GPU's compute capability, a CPU's unit for bfloat16."""


def _always(layer: Any, t: Any) -> bool:
    return True


def _no_workspace(layer: Any, t: Any, direction: Direction) -> Mapping[str, Workspace]:
    return {}


def _no_scalars(layer: Any, t: Any) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Variant:
    """One way to compute a layer: the kernels of both directions and what they need.

    The functions are asked with the layer, for its attributes and phase, and its tensors; they depend on nothing else.
    A direction without kernels is computed by the plain ones. ``Layer.variants`` lists a layer's, best first.
    """

    name: str
    kernels: tuple[Kernel, ...]
    """In the order in which they run; the name that they were marked with is replaced by this variant's."""
    supports: Callable[[Any, Any], bool] = _always
    """Whether it can run these shapes and dtypes."""
    workspace: Callable[[Any, Any, Direction], Mapping[str, Workspace]] = _no_workspace
    """Scratch arrays, by the name under which its kernels take them."""
    scalars: Callable[[Any, Any], Mapping[str, Any]] = _no_scalars
    """Further numbers, and named tuples of numbers, that its kernels take by name."""
    cost: Callable[[Any, Any, Direction, Capability | None], float] | None = None
    """Estimated time of a direction on a device of that capability, by which variants of the same ``bound`` are ranked;
    None: as they are listed."""
    bound: float | None = None
    """Error bound of its results, where 1e-5 cannot hold."""
    capability: Capability | None = None
    """That of the devices that alone have its instructions; it is never taken on others."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernels", tuple(_called(self.name, kernel) for kernel in self.kernels))

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The backends that it has kernels for."""
        return tuple(dict.fromkeys(backend for kernel in self.kernels for backend in kernel.backends))


def _called(name: str, kernel: Kernel) -> Kernel:
    """The kernel as one of that variant; what it was checked for when it was marked is as it was."""
    if kernel.variant == name:
        return kernel
    renamed = copy(kernel)
    object.__setattr__(renamed, "variant", name)
    return renamed


def names_by_backend(variants: Sequence[Variant], marked: Sequence[Kernel]) -> dict[str, tuple[str, ...]]:
    """Names of the variants that have kernels for a backend, in their order; the plain one goes without saying.

    Raises TypeError where one is listed twice for a backend, or kernels of its name are ``marked`` beside it.
    """
    found: dict[str, list[str]] = {}
    taken = {(kernel.variant, backend) for kernel in marked for backend in kernel.backends}
    for name, backend in ((one.name, backend) for one in variants for backend in one.backends):
        if (name, backend) in taken:
            raise TypeError(f"the variant '{name}' is there twice for {backend}")
        taken.add((name, backend))
        found.setdefault(backend, []).append(name)
    return {backend: tuple(name for name in names if name != "plain") for backend, names in found.items()}


def by_cost(
    variants: Sequence[Variant],
    names: Sequence[str],
    layer: Any,
    t: Any,
    direction: Direction,
    capability: Capability | None = None,
) -> list[str]:
    """The names, those of variants that estimate their cost and have one error bound in the order of that cost.

    Those that devices of this capability alone have come before others of the bound: they are made for them.
    """
    estimated = {one.name: one for one in variants if one.cost is not None}
    first: dict[float | None, int] = {}

    def rank(item: tuple[int, str]) -> tuple[int, bool, float]:
        place, one = item[0], estimated.get(item[1])
        if one is None or one.cost is None:
            return place, False, 0.0
        is_general = one.capability is None or one.capability != capability
        return first.setdefault(one.bound, place), is_general, one.cost(layer, t, direction, capability)

    return [name for _, name in sorted(enumerate(names), key=rank)]
