"""Dilated convolution is convolution by kernels with zeros between their weights: every variant that can."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from netspec.check.single import Array, SingleLayer
from netspec.check.subject import complete, cpu
from netspec.contract.tensor import Tensor
from netspec.layers._window import all_read
from netspec.registry import layer_types

CONV = layer_types()["conv"]


def trip(attrs: dict[str, Any], variant: str, x: Array, weight: Array) -> dict[str, Array]:
    single = SingleLayer("conv", complete(CONV, attrs), [Tensor(x.shape)], cpu(), variant=variant, dtype="float64")
    values = {"x": x, "weight": weight, "bias": np.arange(4.0)}
    forward = single.forward(values)
    gradient = np.random.default_rng(3).normal(size=forward["y"].shape)
    return {**forward, **single.backward({**values, **forward, "dy": gradient})}


@pytest.mark.parametrize("variant", ["plain", "gemm"])
@pytest.mark.parametrize(("groups", "stride", "pad"), [(1, 1, 2), (2, 2, 2), (1, 2, [0, 4, 3, 1])])
def test_zeros_between_weights(variant: str, groups: int, stride: int, pad: Any) -> None:
    chance = np.random.default_rng(0)
    x, weight = chance.normal(size=(2, 9, 8, 4)), chance.normal(size=(3, 3, 4 // groups, 4))
    spread = np.zeros((5, 7, 4 // groups, 4))
    spread[::2, ::3] = weight
    attrs = {"filters": 4, "stride": stride, "pad": pad, "groups": groups}
    got = trip({**attrs, "size": 3, "dilation": [2, 3]}, variant, x, weight)
    wanted = trip({**attrs, "size": [5, 7]}, "plain", x, spread)
    wanted["d_weight"] = wanted["d_weight"][::2, ::3]
    for name in ("y", "d_x", "d_weight", "d_bias"):
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-12, atol=1e-12)


def test_fast_variants_leave_dilation_to_others() -> None:
    for attrs, able in (({"dilation": 1}, True), ({"dilation": 2}, False)):
        given = complete(CONV, {"filters": 4, "size": 3, "pad": 2, **attrs})
        single = SingleLayer("conv", given, [Tensor((2, 9, 9, 4))], cpu())
        supported = [one for one in single.layer.variant_names("cpu") if single.layer.supports(single.t, one)]
        assert (set(supported) - {"plain", "gemm"} != set()) == able


def test_windows_that_read_nothing_are_found_without_looking_at_all():
    """The few windows that are looked at against all of them."""
    outcomes = set()
    for axis in itertools.product((1, 2, 5), (1, 3), (0, 1, 4), (1, 2, 3), (1, 2, 5), (1, 2, 6)):
        count, stride, pad, size, apart, length = axis
        every = [range(i * stride - pad, i * stride - pad + size * apart, apart) for i in range(count)]
        expected = all(any(0 <= place < length for place in window) for window in every)
        assert all_read([axis]) == expected, axis
        outcomes.add(expected)
    assert outcomes == {True, False}
    assert all_read([(10**12, 2, 1, 3, 2, 2 * 10**12)])
