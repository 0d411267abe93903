"""Activations against their formulas in numpy, in float64 and at the ends of their range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from netspec.check.single import Array, SingleLayer
from netspec.check.subject import cpu
from netspec.contract.tensor import Tensor
from netspec.errors import LayerError

FORMULAS: dict[str, tuple[dict[str, Any], Callable[[Array], Array]]] = {
    "relu": ({}, lambda x: np.maximum(x, 0)),
    "tanh": ({}, np.tanh),
    "logistic": ({}, lambda x: 1 / (1 + np.exp(-x))),
    "leaky_relu": ({"slope": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x)),
    "elu": ({"alpha": 0.7}, lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0)))),
    "silu": ({}, lambda x: x / (1 + np.exp(-x))),
    "gelu": ({}, lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2),
    "hardswish": ({}, lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "clip": ({"low": -2.5, "high": 6.0}, lambda x: np.clip(x, -2.5, 6)),
}


@pytest.mark.parametrize("layer_type", FORMULAS)
def test_formulas(layer_type: str) -> None:
    attrs, formula = FORMULAS[layer_type]
    x = np.linspace(-30, 30, 4001).reshape(1, -1)
    for dtype, bound in (("float64", 1e-12), ("float32", 2e-6)):
        y = SingleLayer(layer_type, attrs, [Tensor(x.shape)], cpu(), dtype=dtype).forward({"x": x})["y"]
        np.testing.assert_allclose(y, formula(x.astype(y.dtype).astype(np.float64)), rtol=bound, atol=bound)


@pytest.mark.parametrize("layer_type", FORMULAS)
def test_large_numbers_stay_finite(layer_type: str) -> None:
    x = np.array([[-3e38, -1e4, 0.0, 1e4, 3e38]], np.float32)
    single = SingleLayer(layer_type, FORMULAS[layer_type][0], [Tensor(x.shape)], cpu())
    forward = single.forward({"x": x})
    gradient = single.backward({"x": x, **forward, "dy": np.ones_like(x)})["d_x"]
    assert np.isfinite(forward["y"]).all() and np.isfinite(gradient).all()


def test_bounds_that_leave_nothing_are_refused() -> None:
    with pytest.raises(LayerError, match="nothing lies between"):
        SingleLayer("clip", {"low": 6.0, "high": 6.0}, [Tensor((2, 3))], cpu())
