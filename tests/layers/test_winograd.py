"""Winograd's convolution: against PyTorch in float64, the contract's checks, its choice and its switch."""

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
from netspec.check.single import SingleLayer
from netspec.check.subject import Subject, cpu
from netspec.check.suite import Check
from netspec.check.writes import check_deterministic, check_team, check_written
from netspec.contract.tensor import Shape, Tensor
from netspec.layers._cpu import winograd_transforms as transforms
from netspec.registry import layer_types

CONV = layer_types()["conv"]
BOUND = CONV.bounds["winograd"]
Attrs = Mapping[str, Any]


def single(attrs: Attrs, shape: Shape, variant: str = "winograd", dtype: str = "float32") -> SingleLayer:
    return SingleLayer("conv", attrs, [Tensor(shape)], cpu(), variant=variant, dtype=dtype)


def supported(attrs: Attrs, shape: Shape) -> bool:
    one = single(attrs, shape)
    return one.layer.supports(one.t, "winograd")


def trip(one: SingleLayer, values: Mapping[str, Any]) -> dict[str, Any]:
    forward = one.forward(values)
    return {**forward, **one.backward({**values, **forward})}


def drawn(one: SingleLayer, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    tensors = {"x": one.t.x, "d_y": one.t.y, "weight": one.t.weight}
    tensors |= {"bias": one.t.bias} if one.layer.attrs.bias else {}
    return {name: rng.standard_normal(tensor.shape).astype(np.float32) for name, tensor in tensors.items()}


def fuzzed(seed: int) -> tuple[dict[str, Any], Shape]:
    """Attributes and a shape that the variant runs."""
    rng = random.Random(seed)
    while True:
        groups, pad = rng.choice([1, 1, 2, 3]), [rng.randrange(4) for _ in range(4)]
        attrs = {"filters": groups * rng.randrange(16, 60), "size": 3, "pad": pad, "groups": groups}
        attrs |= {"bias": rng.random() < 0.5, "rounding": rng.choice(["floor", "ceil"])}
        shape = rng.randrange(2, 20), rng.randrange(3, 18), rng.randrange(3, 18), groups * rng.randrange(16, 60)
        if supported(attrs, shape):
            return attrs, shape


@pytest.mark.parametrize("seed", range(12))
def test_any_shape_gives_what_torch_gives_in_float64(seed: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the reference here, and is not installed")
    attrs, shape = fuzzed(seed)
    for dtype, bound in (("float64", 1e-12), ("float32", BOUND)):
        one = single(attrs, shape, dtype=dtype)
        values = drawn(one, seed)
        given = {name: torch.tensor(value.astype(float), requires_grad=True) for name, value in values.items()}
        top, bottom, left, right = attrs["pad"]
        x = torch.nn.functional.pad(given["x"].permute(0, 3, 1, 2), (left, right, top, bottom))
        weight = given["weight"].permute(3, 2, 0, 1)
        y = torch.nn.functional.conv2d(x, weight, given.get("bias"), groups=attrs["groups"]).permute(0, 2, 3, 1)
        y.backward(given.pop("d_y"))
        got = trip(one, values)
        for name, want in {"y": y.detach(), **{f"d_{name}": value.grad for name, value in given.items()}}.items():
            assert error(got[name], want.numpy()) < bound, name


@pytest.mark.parametrize("constant", [1.0, 0.3])
def test_the_bound_holds_where_rounding_errors_add_up(constant: float) -> None:
    attrs, shape = {"filters": 16, "size": 3, "pad": 1}, (2, 12, 16, 300)
    one = single(attrs, shape)
    values = {name: np.full_like(value, constant) for name, value in drawn(one, 0).items()}
    wanted = trip(single(attrs, shape, "plain", "float64"), values)
    for name, got in trip(one, values).items():
        assert error(got, wanted[name]) < BOUND, name


EXAMPLES = (
    {"attrs": {"filters": 16, "size": 3, "pad": 1}, "inputs": [(2, 12, 16, 17)]},
    {"attrs": {"filters": 36, "size": 3, "pad": [2, 0, 1, 0], "groups": 2, "bias": False}, "inputs": [(7, 5, 9, 34)]},
)
CHECKS = (check_written, check_deterministic, check_variants, check_team, check_shards)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    for example in EXAMPLES:
        assert supported(example["attrs"], example["inputs"][0])  # type: ignore[arg-type, index]
    monkeypatch.setattr(CONV, "examples", EXAMPLES)
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


def test_matrices_convolve_exactly() -> None:
    random.seed(0)
    pixels, taps = ([Fraction(random.randrange(-9, 9)) for _ in range(count)] for count in (6, 3))
    spectrum = [sum(b * d for b, d in zip(column, pixels, strict=True)) for column in zip(*transforms.B, strict=True)]
    filters = [sum(g * t for g, t in zip(row, taps, strict=True)) for row in transforms.G]
    products = [s * f for s, f in zip(spectrum, filters, strict=True)]
    results = [sum(a * p for a, p in zip(column, products, strict=True)) for column in zip(*transforms.A, strict=True)]
    assert results == [sum(pixels[i + k] * taps[k] for k in range(3)) for i in range(4)]
