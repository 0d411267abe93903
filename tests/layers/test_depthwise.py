"""Convolutions with a filter for each channel: the kernels for them are taken, and give what the plain ones do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netspec.check.single import SingleLayer
from netspec.check.subject import complete, cpu
from netspec.contract.tensor import Tensor
from netspec.registry import layer_types

SETTINGS: list[dict[str, Any]] = [
    {"size": 3, "pad": 1},
    {"size": [3, 2], "stride": 2, "pad": [0, 1, 2, 0], "rounding": "ceil"},
    {"size": 3, "pad": 2, "dilation": 2, "bias": False},
]


@pytest.mark.torch
@pytest.mark.parametrize("attrs", [SETTINGS[0], {"size": 5, "stride": 2, "pad": 2, "dilation": [1, 2]}])
def test_as_in_pytorch(attrs: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the reference here, and is not installed")
    single, values = layer(attrs, "depthwise")
    given = {name: torch.tensor(values[name], requires_grad=True) for name in ("x", "weight", "bias")}
    options = {name: attrs.get(name, 1) for name in ("stride", "dilation")}
    arrays = given["x"].movedim(-1, 1), given["weight"].permute(3, 2, 0, 1), given["bias"]
    wanted = torch.nn.functional.conv2d(*arrays, padding=attrs["pad"], groups=20, **options).movedim(1, -1)
    wanted.backward(torch.tensor(values["dy"]))
    forward = single.forward(values)
    backward = single.backward({**values, **forward})
    np.testing.assert_allclose(forward["y"], wanted.detach().numpy(), rtol=1e-5, atol=1e-5)
    for name, one in given.items():
        np.testing.assert_allclose(backward[f"d_{name}"], one.grad.numpy(), rtol=1e-4, atol=1e-4)


def layer(attrs: dict[str, Any], variant: str) -> tuple[SingleLayer, dict[str, Any]]:
    given = complete(layer_types()["conv"], {"filters": 20, "groups": 20, **attrs})
    single = SingleLayer("conv", given, [Tensor((5, 9, 8, 20))], cpu(), variant=variant)
    chance, roles = np.random.default_rng(0), single.t.roles
    values = {name: chance.normal(size=single.t[name].shape) for name in ("x", "weight", "bias") if name in roles}
    values["dy"] = chance.normal(size=single.t.y.shape)
    return single, {name: one.astype(np.float32) for name, one in values.items()}


@pytest.mark.parametrize("attrs", SETTINGS)
def test_as_the_plain_kernels(attrs: dict[str, Any]) -> None:
    (plain, values), (fast, _) = layer(attrs, "plain"), layer(attrs, "depthwise")
    wanted, found = plain.forward(values), fast.forward(values)
    wanted |= plain.backward({**values, **wanted})
    found |= fast.backward({**values, **found})
    for name, one in wanted.items():
        np.testing.assert_allclose(found[name], one, rtol=1e-5, atol=1e-5)


def test_they_are_first_where_each_channel_has_a_filter() -> None:
    conv = layer_types()["conv"]
    for filters, groups, first in ((20, 20, "depthwise"), (40, 20, None), (20, 10, None)):
        made = conv(complete(conv, {"filters": filters, "groups": groups, "size": 3, "pad": 1}))
        t = made.tensors([Tensor((8, 9, 8, 20))])
        able = [name for name in made.variant_names("cpu") if made.supports(t, name)]
        assert (made.rank(t, "forward", able)[0] == "depthwise") == (first == "depthwise")
