"""Variants as objects: what a layer makes of the ones that it lists."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from netspec.check.subject import Case, complete
from netspec.contract.kernel import Kernel
from netspec.contract.layer import Tensors
from netspec.plugin import Layer, Tensor, Variant, Workspace, backward, forward
from netspec.program.choice import candidates
from netspec.registry import layer_types


def first(start, stop, x, y):  # type: ignore[no-untyped-def]
    """The first pass."""


def last(start, stop, y):  # type: ignore[no-untyped-def]
    """A pass that several variants end with."""


def on_card(x, y):  # type: ignore[no-untyped-def]
    """A pass on GPUs."""


def back(start, stop, dy, d_x):  # type: ignore[no-untyped-def]
    """The pass backwards."""


def cpu(function: Any) -> Kernel:
    return forward("cpu", over="y", writes="y")(function)


FIRST, LAST, BACK = cpu(first), cpu(last), backward("cpu", over="d_x", writes="d_x")(back)
CARD = forward("cuda", over="y", writes="y")(on_card)
FAST = Variant(
    "fast",
    kernels=(FIRST, LAST, BACK),
    supports=lambda layer, t: t.x.size > layer.least,
    workspace=lambda layer, t, direction: {direction: Workspace((layer.least,))},
    scalars=lambda layer, t: {"least": layer.least},
    bound=1e-3,
)


def layer(**attributes: Any) -> type[Layer]:
    def outputs(self: Layer, x: Tensor) -> Tensor:
        return x

    return type("Made", (Layer,), {"type": "made", "least": 5, "outputs": outputs, **attributes})


def on(cls: type[Layer], shape: tuple[int, ...] = (2, 3)) -> tuple[Layer, Tensors]:
    one = cls({}, "train")
    return one, one.tensors([Tensor(shape)])


def test_a_variants_kernels_are_its_own_and_those_of_the_body_come_first() -> None:
    cls = layer(variants=(FAST, Variant("other", (LAST,))), plain=FIRST, kernels=(LAST,))
    one, _ = on(cls)
    assert [kernel.variant for kernel in cls.kernels] == ["plain", "plain", "fast", "fast", "fast", "other"]
    assert [kernel.function for kernel in one.passes("cpu", "forward", "plain")] == [first, last]
    assert [kernel.function for kernel in one.passes("cpu", "forward", "fast")] == [first, last]
    assert [kernel.function for kernel in one.passes("cpu", "forward", "other")] == [last]
    assert one.passes("cpu", "backward", "other") == ()
    assert LAST.variant == "plain"


def test_what_a_variant_says_is_what_the_layer_answers() -> None:
    one, t = on(layer(variants=(FAST,), plain=FIRST))
    assert (one.supports(t, "fast"), one.supports(t, "plain")) == (True, True)
    assert not one.supports(on(type(one), (2, 2))[1], "fast")
    assert one.workspace(t, "fast", "backward") == {"backward": Workspace((5,))}
    assert one.workspace(t, "plain", "backward") == {}
    assert one.scalars(t) == {"least": 5}
    assert one.bounds == {"fast": 1e-3}


def test_the_list_is_the_order_by_backend() -> None:
    card = Variant("card", (CARD,), capability=(9, 0))
    one, _ = on(layer(variants=(card, FAST, Variant("plain", (CARD,)), Variant("slow", (FIRST, CARD))), plain=FIRST))
    assert one.variant_names("cpu") == ("fast", "slow", "plain")
    assert one.variant_names("cuda") == ("card", "slow", "plain")
    assert one.needs == {"card": (9, 0)}


def test_costs_rank_variants_of_one_bound() -> None:
    def variant(name: str, cost: float | None, bound: float) -> Variant:
        return Variant(name, (FIRST,), cost=None if cost is None else lambda *_: cost, bound=bound)

    listed = (
        variant("dear", 3.0, 1e-3), variant("cheap", 1.0, 1e-3), variant("rough", 0.5, 1e-2),
        variant("unknown", None, 1e-3), variant("fair", 2.0, 1e-3),
    )  # fmt: skip
    one, t = on(layer(variants=listed, plain=LAST))
    ranked = one.rank(t, "forward", one.variant_names("cpu"))
    assert list(ranked) == ["cheap", "fair", "dear", "rough", "unknown", "plain"]


def test_kernels_marked_in_the_body_keep_their_own_order_and_bounds() -> None:
    class Marked(Layer):
        """As a plugin of version 0.1."""

        prefer: ClassVar = {"cpu": ("mine",)}
        bounds: ClassVar = {"mine": 0.5}

        @forward("cpu", over="y", writes="y")
        def plain(start, stop, x, y):  # type: ignore[no-untyped-def]
            y[start:stop] = x[start:stop]

        @forward("cpu", over="y", writes="y", variant="mine")
        def mine(start, stop, x, y):  # type: ignore[no-untyped-def]
            y[start:stop] = x[start:stop]

    assert (Marked.prefer, Marked.bounds, Marked.needs) == ({"cpu": ("mine",)}, {"mine": 0.5}, {})
    assert [kernel.variant for kernel in Marked.kernels] == ["plain", "mine"]


def test_a_variant_is_there_once_for_a_backend() -> None:
    for attributes in ({"variants": (FAST, FAST)}, {"variants": (Variant("plain", (LAST,)),), "plain": FIRST}):
        with pytest.raises(TypeError, match=r"the variant '(fast|plain)' is there twice for cpu"):
            layer(**attributes)


def test_variants_whose_kernels_do_the_same_are_one_candidate() -> None:
    """A dense layer's weights are streamed forwards; backwards that variant has the kernels of the next one."""
    cls = layer_types()["dense"]
    case = Case(cls, complete(cls, {"units": 6}), (Tensor((4, 8)),))
    dense, t = case.layer(), case.layer().tensors(case.given("train"))
    assert candidates(dense, t, "cpu", "forward") == ("gemv", "gemm", "plain")
    assert candidates(dense, t, "cpu", "backward") == ("gemv", "plain")


def test_plugins_of_version_0_1_call_the_residual_beside() -> None:
    def gradient(dy, d_x, beside):  # type: ignore[no-untyped-def]
        """A pass that stores through backward_epilogue."""

    assert backward("cuda", over="d_x", writes="d_x")(gradient).args == ("dy", "d_x", "residual")
