"""Transposed convolution against PyTorch, and as what a convolution does backwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netspec.check.single import Array, SingleLayer
from netspec.check.subject import complete, cpu
from netspec.contract.tensor import Tensor
from netspec.errors import LayerError
from netspec.registry import layer_types

SETTINGS: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({"filters": 6, "size": 4, "stride": 2, "pad": 1}, (3, 5, 7, 4)),
    ({"filters": 6, "size": [3, 2], "stride": [2, 3], "groups": 2, "output_pad": [1, 2]}, (2, 4, 3, 8)),
    ({"filters": 4, "size": 3, "dilation": [2, 3], "pad": 2, "bias": False}, (2, 5, 4, 4)),
    ({"filters": 8, "size": 3, "stride": 2, "pad": 1, "output_pad": 1, "groups": 4}, (2, 6, 6, 4)),
    ({"filters": 2, "size": 1, "stride": 3}, (2, 2, 3, 5)),
]


def layer(attrs: dict[str, Any], shape: tuple[int, ...], variant: str) -> tuple[SingleLayer, dict[str, Array]]:
    given = complete(layer_types()["conv_transpose"], attrs)
    single = SingleLayer("conv_transpose", given, [Tensor(shape)], cpu(), variant=variant)
    chance = np.random.default_rng(0)
    names = ("x", "weight", "bias") if given["bias"] else ("x", "weight")
    values = {name: chance.normal(size=single.t[name].shape).astype(np.float32) for name in names}
    return single, {**values, "dy": chance.normal(size=single.t.y.shape).astype(np.float32)}


@pytest.mark.torch
@pytest.mark.parametrize("variant", ["plain", "gemm"])
@pytest.mark.parametrize(("attrs", "shape"), SETTINGS)
def test_values_and_gradients(attrs: dict[str, Any], shape: tuple[int, ...], variant: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the reference here, and is not installed")
    single, values = layer(attrs, shape, variant)
    groups = attrs.get("groups", 1)
    given = {name: torch.tensor(values[name], requires_grad=True) for name in values if name != "dy"}
    weight = given["weight"].unflatten(3, (groups, -1)).permute(3, 2, 4, 0, 1).flatten(0, 1)
    options = {name: attrs[key] for name, key in (("stride", "stride"), ("dilation", "dilation")) if key in attrs}
    options |= {"padding": attrs.get("pad", 0), "output_padding": attrs.get("output_pad", 0), "groups": groups}
    wanted = torch.nn.functional.conv_transpose2d(given["x"].movedim(-1, 1), weight, given.get("bias"), **options)
    wanted = wanted.movedim(1, -1)
    wanted.backward(torch.tensor(values["dy"]))
    forward = single.forward(values)
    backward = single.backward({**values, **forward})
    np.testing.assert_allclose(forward["y"], wanted.detach().numpy(), rtol=1e-5, atol=1e-5)
    for name, one in given.items():
        np.testing.assert_allclose(backward[f"d_{name}"], one.grad.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["plain", "gemm"])
@pytest.mark.parametrize("pad", [1, [2, 0, 1, 3]])
def test_sums_of_products(variant: str, pad: Any) -> None:
    """In numpy, in float64; with uneven padding, which PyTorch does not have."""
    attrs = {"filters": 3, "size": 4, "stride": [2, 3], "pad": pad, "output_pad": [1, 2], "bias": False}
    single, values = layer(attrs, (2, 4, 5, 6), variant)
    x, weight = values["x"].astype(np.float64), values["weight"].astype(np.float64)
    whole = np.zeros((2, 3 * 2 + 4 + 1, 4 * 3 + 4 + 2, 3))
    for h in range(4):
        for w in range(5):
            whole[:, 2 * h : 2 * h + 4, 3 * w : 3 * w + 4] += np.einsum("nc,ijcf->nijf", x[:, h, w], weight)
    top, bottom, left, right = (pad,) * 4 if isinstance(pad, int) else pad
    wanted = whole[:, top : whole.shape[1] - bottom, left : whole.shape[2] - right]
    np.testing.assert_allclose(single.forward(values)["y"], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("attrs", "told"),
    [({"pad": 3}, "leaves nothing of the output's height"), ({"output_pad": 2}, "no less than the stride")],
)
def test_what_fits_nothing_is_refused(attrs: dict[str, Any], told: str) -> None:
    with pytest.raises(LayerError, match=told):
        layer({"filters": 2, "size": 3, "stride": 2, **attrs}, (1, 2, 2, 3), "plain")
