"""Matrix products as parts of a layer: all kernels of a dense layer, under names that another layer gives its arrays.

``matrix_product`` gives such a product, ``by_products`` makes variants of a layer of some of them and of passes of its
own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from netspec.contract.borrowed import renamed
from netspec.contract.kernel import RESIDUAL, Direction, Kernel, Kernels, Lazy, Phase
from netspec.contract.layer import Tensors
from netspec.contract.product_epilogue import ProductEpilogue
from netspec.contract.tensor import Workspace
from netspec.contract.variant import Variant

_KEPT = {"start", "stop", "ops", "counters", RESIDUAL}
_NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Product:
    """One product: ``names`` says for x, weight, y, bias, dy and d_x what they are called in the layer.

    ``lender`` are the variants that compute it under its own names, ``sizes`` gives the tensors as these know them.
    """

    names: Mapping[str, str]
    lender: tuple[Variant, ...]
    sizes: Callable[[Any, Any, Any], Tensors]
    epilogue: ProductEpilogue | None = None
    functions: dict[Any, Any] = field(default_factory=dict)
    """Kernels' functions under the layer's names, by those of the lender and the phases."""

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """Each variant with its kernels and what these need under the layer's names."""
        return tuple(self._own(one) for one in self.lender)

    def name(self, one: str) -> str:
        """What an array or a number of the product is called in the layer."""
        return one if one in _KEPT else self.names.get(one, f"{self.names['y']}_{one}")

    def tensors(self, t: Tensors) -> Tensors:
        """The product's tensors."""
        return self.sizes(*(t[self.names[one]] for one in ("x", "weight", "y")))

    def _own(self, one: Variant) -> Variant:
        def supports(layer: Any, t: Tensors) -> bool:
            return one.supports(layer, self.tensors(t))

        def workspace(layer: Any, t: Tensors, direction: Direction) -> Mapping[str, Workspace]:
            found = one.workspace(layer, self.tensors(t), direction)
            own = {self.name(name): space for name, space in found.items()}
            if self.epilogue and direction == "backward":
                y = t[self.names["y"]]
                own[self.epilogue.slope] = Workspace(y.shape, y.dtype)
            return own

        def scalars(layer: Any, t: Tensors) -> Mapping[str, Any]:
            return {self.name(name): value for name, value in one.scalars(layer, self.tensors(t)).items()}

        def cost(layer: Any, t: Tensors, *way: Any) -> float:
            return one.cost(layer, self.tensors(t), *way) if one.cost else 0.0

        kernels = tuple(self._kernels([kernel for kernel in one.kernels if self._applies(kernel)]))
        return replace(
            one,
            kernels=kernels,
            supports=supports,
            workspace=workspace,
            scalars=scalars,
            cost=one.cost and cost,
        )

    def _applies(self, kernel: Kernel) -> bool:
        """Whether it is for a product with a bias, or without, as this one is."""
        return bool(kernel.when.get("bias", "bias" in self.names)) == ("bias" in self.names)

    def _kernels(self, lent: list[Kernel]) -> list[Kernel]:
        """The product's kernels, and with an epilogue the passes of its own: forward behind, backward before them."""
        if self.epilogue is None:
            return [self._kernel(one) for one in lent]
        backends = {backend for one in lent for backend in one.backends}
        found = []
        for (phases, saves), behind in zip(self.epilogue.phases, self.epilogue.behind, strict=True):
            found += [self._ending(one, phases, saves) for one in lent if one.direction == "forward"]
            found += [behind] if "cpu" in backends else []
        found += [one for one in self.epilogue.before if backends & {*one.backends}]
        return [*found, *(self._kernel(one) for one in lent if one.direction == "backward")]

    def _ending(self, kernel: Kernel, phases: tuple[Phase, ...], saves: bool) -> Kernel:
        """A forward kernel for some phases: results go through the epilogue, or on CPUs to where it finds them."""
        assert self.epilogue is not None
        if "cpu" in kernel.backends:
            y = {"y": self.epilogue.argument} if saves else {}
            return replace(self._kernel(kernel, f"_{phases[0]}", y), phases=phases)
        if not kernel.finishes:
            return replace(self._kernel(kernel), phases=phases)
        return self.epilogue.in_kernel(self._kernel(kernel, f"_{phases[0]}"), phases, saves)

    def _kernel(self, kernel: Kernel, mark: str = "", others: Mapping[str, str] = _NONE) -> Kernel:
        names = {one: others.get(one, self.name(one)) for one in {*kernel.args, *kernel.writes, kernel.over}}
        if (kernel.function, mark) not in self.functions:  # several variants may share a kernel
            name = f"{self.names['y']}_{kernel.function.__name__}{mark}"
            self.functions[kernel.function, mark] = renamed(kernel.function, names, name)

        def of_own(asked: Any) -> Any:
            return (lambda t: asked(self.tensors(t))) if callable(asked) else asked

        def maps(t: Tensors) -> Mapping[str, Any]:
            assert kernel.maps is not None
            found = kernel.maps(self.tensors(t))
            return {self.name(name): replace(one, array=self.name(one.array)) for name, one in found.items()}

        return replace(
            kernel,
            function=self.functions[kernel.function, mark],
            over=names[kernel.over],
            writes=tuple(names[one] for one in kernel.writes),
            block=of_own(kernel.block),
            grid=of_own(kernel.grid),
            shared=of_own(kernel.shared),
            maps=kernel.maps and maps,
            when={},
        )


def matrix_product(
    x: str,
    weight: str,
    y: str,
    *,
    bias: str | None = None,
    d_y: str | None = None,
    d_x: str | None = None,
    epilogue: Callable[..., Any] | None = None,
    derivative: Callable[..., Any] | None = None,
    numbers: Collection[str] = (),
) -> Product:
    """y = x weight (+ bias), by the kernels of a dense layer: a step of ``by_products``, with both gradients.

    The arguments name arrays of the layer: x (N, H, W, C) or (N, C), weight (H, W, C, units) or (C, units), or as dense
    layers with groups have them, y (N, units), bias (units). Backward reads ``d_y`` (N, units) and writes ``d_x``, as
    large as x, ``d_weight`` and, with a bias, ``d_bias``: the gradients of these arrays, ``d_`` before their names,
    unless other names are given for the first two, such as those of workspaces.

    With ``epilogue`` y = epilogue(x weight + bias, ...): a function of single numbers, whose first parameter is the
    product's element and further ones are elements at its place of arrays as large as y, but for those in ``numbers``,
    attributes and scalars. ``derivative`` gives the gradient of the first, or a tuple of that and of the gradients of
    these arrays, in their order; its parameters are dy, y, any of the epilogue's. If it asks for the first one, forward
    leaves that in a saved tensor of its name, which the layer declares as ``saved``. On GPUs the function is in the
    product's kernels.

    On GPUs products are those of the
    precision: in bfloat16 by wgmma fed by TMA on 9.0 and by mma.sync from 8.0 on, tf32, or register tiles of float32.
    """
    names = {"x": x, "weight": weight, "y": y, "d_x": d_x or f"d_{x}", "d_weight": f"d_{weight}"}
    slope, end = d_y or f"d_{y}", None
    if epilogue or derivative:
        end = ProductEpilogue(epilogue, derivative, numbers, {"y": y, "dy": slope})
        slope = end.slope
    names |= dict.fromkeys(("dy", "d_y"), slope) | ({"bias": bias, "d_bias": f"d_{bias}"} if bias else {})
    parts, tensors_of = (Lazy("netspec.layers._dense_products", one).resolve() for one in ("PARTS", "tensors_of"))
    return Product(names, parts, tensors_of, end)


def by_products(*steps: Product | Kernel | Kernels) -> tuple[Variant, ...]:
    """Variants of a layer that is made of products and of passes of its own, in the order of the forward pass.

    Backward the steps come in the opposite order; passes of one step keep theirs. A variant is one that each product
    has: it supports what all of them support, and costs what they cost together. Raises TypeError without a product.
    """
    products = [one for one in steps if isinstance(one, Product)]
    if not products:
        raise TypeError("by_products takes a matrix_product, and passes that go with it")
    return tuple(_joined(steps, products, place) for place in range(len(products[0].variants)))


def _joined(steps: tuple[Any, ...], products: list[Product], place: int) -> Variant:
    parts = [product.variants[place] for product in products]
    backend, bounds = parts[0].backends[0], [part.bound for part in parts if part.bound]

    def kernels(direction: Direction) -> list[Kernel]:
        ordered = steps if direction == "forward" else steps[::-1]
        found = (one.variants[place].kernels if isinstance(one, Product) else one for one in ordered)
        several = ((one,) if isinstance(one, Kernel) else one for one in found)
        return [one for many in several for one in many if one.direction == direction and backend in one.backends]

    def merged(ask: Callable[[Variant], Mapping[str, Any]]) -> Mapping[str, Any]:
        return {name: value for part in parts for name, value in ask(part).items()}

    def cost(layer: Any, t: Tensors, *way: Any) -> float:
        return sum(part.cost(layer, t, *way) for part in parts if part.cost)

    return replace(
        parts[0],
        kernels=(*kernels("forward"), *kernels("backward")),
        supports=lambda layer, t: all(part.supports(layer, t) for part in parts),
        workspace=lambda layer, t, direction: merged(lambda part: part.workspace(layer, t, direction)),
        scalars=lambda layer, t: merged(lambda part: part.scalars(layer, t)),
        cost=parts[0].cost and cost,
        bound=sum(bounds) if bounds else None,
    )
