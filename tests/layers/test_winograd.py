"""Winograd's convolutions: against PyTorch in float64, the contract's checks, their choice and their switch."""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from netspec.check.compare import error
from netspec.check.precision import check_variants
from netspec.check.shards import check_shards
from netspec.check.shuffled import ShuffledCpu
from netspec.check.single import SingleLayer
from netspec.check.subject import Subject, cpu
from netspec.check.suite import Check
from netspec.check.writes import check_deterministic, check_team, check_written
from netspec.contract.tensor import Shape, Tensor
from netspec.layers._cpu.winograd_forms import F3x5, F4x3, F4x5, F5x3, Form, matrices, span
from netspec.program.choice import candidates
from netspec.registry import layer_types

CONV = layer_types()["conv"]
Attrs = Mapping[str, Any]
VARIANTS = ("winograd", "winograd_5x5", "winograd_4x4_of_5", "winograd_of_5", "winograd_strided")


def single(attrs: Attrs, shape: Shape, variant: str = "winograd", dtype: str = "float32") -> SingleLayer:
    return SingleLayer("conv", attrs, [Tensor(shape)], cpu(), variant=variant, dtype=dtype)


def supported(attrs: Attrs, shape: Shape, variant: str = "winograd") -> bool:
    one = single(attrs, shape)
    return one.layer.supports(one.t, variant)


def trip(one: SingleLayer, values: Mapping[str, Any]) -> dict[str, Any]:
    forward = one.forward(values)
    return {**forward, **one.backward({**values, **forward})}


def drawn(one: SingleLayer, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    tensors = {"x": one.t.x, "d_y": one.t.y, "weight": one.t.weight}
    tensors |= {"bias": one.t.bias} if one.layer.attrs.bias else {}
    return {name: rng.standard_normal(tensor.shape).astype(np.float32) for name, tensor in tensors.items()}


def fuzzed(seed: int, variant: str) -> tuple[dict[str, Any], Shape]:
    """Attributes and a shape that the variant runs."""
    rng = random.Random(seed)
    while True:
        groups, pad = rng.choice([1, 1, 2, 3]), [rng.randrange(4) for _ in range(4)]
        attrs = {"filters": groups * rng.randrange(16, 60), "size": 3, "pad": pad, "groups": groups}
        attrs |= {"bias": rng.random() < 0.5, "rounding": rng.choice(["floor", "ceil"])}
        shape = rng.randrange(2, 20), rng.randrange(3, 18), rng.randrange(3, 18), groups * rng.randrange(16, 60)
        if variant.endswith("of_5"):
            attrs["size"] = 5
        if variant == "winograd_strided":
            stride = rng.randrange(2, 5)
            attrs |= {"stride": stride, "size": [rng.randrange(2 * stride + 1, 3 * stride + 1) for _ in range(2)]}
            shape = rng.randrange(2, 9), rng.randrange(12, 50), rng.randrange(12, 50), groups * rng.randrange(1, 9)
        if supported(attrs, shape, variant):
            return attrs, shape


def padding(one: SingleLayer) -> tuple[int, int, int, int]:
    """As PyTorch's ``pad`` takes it, so that windows end with the image."""
    window, sides = one.layer.window(one.t), []
    for axis in (1, 0):
        reach = (window.out[axis] - 1) * window.stride[axis] + window.size[axis]
        sides += [window.pad[axis], reach - window.pad[axis] - one.t.x.shape[1 + axis]]
    return tuple(sides)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(6))
def test_any_shape_gives_what_torch_gives_in_float64(seed: int, variant: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the reference here, and is not installed")
    attrs, shape = fuzzed(seed, variant)
    for dtype, bound in (("float64", 1e-12), ("float32", CONV.bounds[variant])):
        one = single(attrs, shape, variant, dtype)
        values = drawn(one, seed)
        given = {name: torch.tensor(value.astype(float), requires_grad=True) for name, value in values.items()}
        x = torch.nn.functional.pad(given["x"].permute(0, 3, 1, 2), padding(one))
        weight, rest = given["weight"].permute(3, 2, 0, 1), {"groups": attrs["groups"]}
        y = torch.nn.functional.conv2d(x, weight, given.get("bias"), attrs.get("stride", 1), **rest)
        y = y.permute(0, 2, 3, 1)
        y.backward(given.pop("d_y"))
        got = trip(one, values)
        for name, want in {"y": y.detach(), **{f"d_{name}": value.grad for name, value in given.items()}}.items():
            assert error(got[name], want.numpy()) < bound, name


@pytest.mark.parametrize("constant", [1.0, 0.3])
@pytest.mark.parametrize(
    ("change", "shape", "variant"),
    [
        ({}, (2, 12, 16, 300), "winograd"),
        ({}, (3, 15, 15, 300), "winograd_5x5"),
        ({"size": 5}, (2, 14, 15, 200), "winograd_of_5"),
        ({"size": 5}, (2, 22, 22, 200), "winograd_4x4_of_5"),
        ({"size": 6, "stride": 2}, (3, 32, 32, 60), "winograd_strided"),
    ],
)
def test_the_bound_holds_where_rounding_errors_add_up(
    change: Attrs, shape: Shape, variant: str, constant: float
) -> None:
    attrs = {"filters": 16, "size": 3, "pad": 1, **change}
    one = single(attrs, shape, variant)
    assert one.layer.supports(one.t, variant)
    values = {name: np.full_like(value, constant) for name, value in drawn(one, 0).items()}
    wanted = trip(single(attrs, shape, "plain", "float64"), values)
    for name, got in trip(one, values).items():
        assert error(got, wanted[name]) < CONV.bounds[variant], name


def example(shape: Shape, **attrs: Any) -> dict[str, Any]:
    return {"attrs": attrs, "inputs": [shape]}


EXAMPLES = {
    "winograd": (
        example((2, 12, 16, 17), filters=16, size=3, pad=1),
        example((1, 22, 23, 16), filters=16, size=3, pad=1),  # one image, which is cut
        example((7, 5, 9, 34), filters=36, size=3, pad=[2, 0, 1, 0], groups=2, bias=False),
    ),
    "winograd_5x5": (example((12, 5, 9, 34), filters=40, size=3, pad=1, groups=2),),
    "winograd_4x4_of_5": (example((6, 7, 12, 34), filters=40, size=5, pad=[1, 3, 2, 2], groups=2),),
    "winograd_of_5": (example((7, 8, 9, 34), filters=40, size=5, pad=[2, 1, 0, 3], groups=2),),
    "winograd_strided": (
        example((7, 38, 40, 3), filters=16, size=[11, 9], stride=4, rounding="ceil"),
        example((7, 18, 20, 10), filters=40, size=5, stride=2, pad=[1, 0, 2, 3], groups=2),
    ),
}
CHECKS = (check_written, check_deterministic, check_variants, check_team, check_shards)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Check, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in EXAMPLES[variant]:
        assert supported(one["attrs"], one["inputs"][0], variant)
    monkeypatch.setattr(CONV, "examples", EXAMPLES[variant])
    check(Subject("conv"))


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        ({"size": 5}, (8, 13, 13, 32)),
        ({"size": [3, 1]}, (8, 13, 13, 32)),
        ({"stride": 2}, (8, 13, 13, 32)),
        ({"groups": 4}, (8, 13, 13, 32)),  # eight channels a group
        ({}, (1, 13, 13, 32)),  # the filters' transform is shared by 16 tiles only
        ({}, (8, 2, 2, 32)),  # a quarter of a tile
        ({"pad": 0}, (64, 3, 3, 32)),
    ],
)
def test_left_to_others(change: Attrs, shape: Shape) -> None:
    attrs = {"filters": 32, "size": 3, "pad": 1}
    assert supported(attrs, (8, 13, 13, 32))
    assert not supported({**attrs, **change}, shape)


def test_one_image_is_enough_where_filters_are_transformed_once() -> None:
    attrs, shape = {"filters": 32, "size": 3, "pad": 1}, Tensor((1, 13, 13, 32))
    for phase, fits in (("train", False), ("eval", True), ("predict", True)):
        one = SingleLayer("conv", attrs, [shape], cpu(), phase=phase, variant="winograd")  # type: ignore[arg-type]
        assert one.layer.supports(one.t, "winograd") == fits


@pytest.mark.parametrize(
    ("variant", "change", "shape"),
    [
        ("winograd", {}, (1, 12, 28, 17)),
        ("winograd", {"groups": 2, "filters": 192, "bias": False}, (1, 29, 29, 40)),  # two sets of tiles
        ("winograd_5x5", {"filters": 32}, (1, 23, 25, 16)),
        ("winograd_of_5", {"size": 5, "pad": 2}, (1, 15, 15, 20)),
        ("winograd_4x4_of_5", {"size": 5, "pad": 2, "groups": 2, "filters": 256}, (1, 27, 27, 96)),
        ("winograd_strided", {"size": 11, "stride": 4, "filters": 48}, (1, 91, 91, 3)),
    ],
)
def test_one_image_in_blocks_of_filters_gives_the_same_bits(variant: str, change: Attrs, shape: Shape) -> None:
    attrs, answers = {"filters": 96, "size": 3, "pad": 1, **change}, []
    for name, device in ((variant, cpu()), *((f"{variant}_one_image", ShuffledCpu(n, n)) for n in (1, 2, 3))):
        one = SingleLayer("conv", attrs, [Tensor(shape)], device, phase="predict", variant=name)
        assert one.layer.supports(one.t, name)
        values = {name: value for name, value in drawn(one, 0).items() if name != "d_y"}
        answers.append(one.forward(values)["y"])
    assert all(answer.tobytes() == answers[0].tobytes() for answer in answers)


@pytest.mark.parametrize(
    ("phase", "batch", "filters", "taken"),
    [("predict", 1, 96, True), ("eval", 1, 96, True), ("train", 1, 96, False), ("predict", 2, 96, False),
     ("predict", 1, 72, False)],
)  # fmt: skip
def test_blocks_of_filters_are_for_one_image(phase: Any, batch: int, filters: int, taken: bool) -> None:
    attrs = {"filters": filters, "size": 3, "pad": 1}
    one = SingleLayer("conv", attrs, [Tensor((batch, 29, 29, 32))], cpu(), phase=phase, variant="winograd")
    assert candidates(one.layer, one.t, "cpu", "forward")[0].endswith("_one_image") == taken


def test_strides_are_left_to_others_where_windows_are_not_three_cells() -> None:
    attrs, shape = {"filters": 32, "size": 6, "stride": 2, "pad": 1}, (8, 40, 40, 8)
    assert supported(attrs, shape, "winograd_strided")
    for change in ({"size": 4}, {"size": 7}, {"size": [6, 4]}, {"stride": [2, 3]}, {"stride": 1}, {"groups": 8}):
        assert not supported({**attrs, **change}, shape, "winograd_strided")


@pytest.mark.parametrize(
    ("length", "size", "first"),
    [
        (13, 3, "winograd_5x5"),
        (15, 3, "winograd_5x5"),
        (14, 3, "winograd_5x5"),
        (12, 3, "winograd"),
        (16, 3, "winograd"),
        (8, 5, "winograd_4x4_of_5"),
        (27, 5, "winograd_4x4_of_5"),
        (9, 5, "winograd_of_5"),
    ],
)
def test_larger_tiles_are_taken_where_they_save_products(length: int, size: int, first: str) -> None:
    one = single({"filters": 32, "size": size, "pad": size // 2}, (8, length, length, 32))
    for direction in ("forward", "backward"):
        assert candidates(one.layer, one.t, "cpu", direction)[0] == first  # type: ignore[arg-type]


@pytest.mark.parametrize("form", [F4x3(), F5x3(), F3x5(), F4x5()], ids=lambda form: type(form).__name__)
def test_matrices_convolve_exactly(form: Form) -> None:
    random.seed(0)
    of = matrices(form)
    pixels, taps = ([Fraction(random.randrange(-9, 9)) for _ in range(count)] for count in (span(form), form.size))
    spectrum = [sum(b * d for b, d in zip(row, pixels, strict=True)) for row in of.b_transposed]
    filters = [sum(g * t for g, t in zip(row, taps, strict=True)) for row in of.g]
    products = [s * f for s, f in zip(spectrum, filters, strict=True)]
    results = [sum(a * p for a, p in zip(column, products, strict=True)) for column in zip(*of.a, strict=True)]
    assert results == [sum(pixels[i + k] * taps[k] for k in range(form.size)) for i in range(form.tile)]


@pytest.mark.parametrize("form", [F4x3(), F5x3(), F3x5(), F4x5()], ids=lambda form: type(form).__name__)
def test_what_multiplies_pixels_and_gradients_is_exact_in_float32(form: Form) -> None:
    of = matrices(form)
    for value in (value for matrix in (of.a, of.b_transposed) for row in matrix for value in row):
        assert Fraction(float(np.float32(float(value)))) == value
