"""Plain CPU kernels of arrays that are stored as bfloat16: sums are float32, and rounded where they are whole."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from netspec.check.single import SingleLayer
from netspec.check.subject import cpu
from netspec.contract.tensor import Shape, Tensor

ROUNDINGS = 2 * 2.0**-8
"""Of a result, and of what a pass before has left it."""
WIDE = (2, 6, 6, 256)


@pytest.mark.parametrize(
    ("kind", "attrs", "shape"),
    [
        ("dense", {"units": 16, "groups": 2}, WIDE),
        ("conv", {"filters": 4, "size": 5, "pad": 2}, WIDE),
        ("conv_transpose", {"filters": 4, "size": 5, "pad": 2}, WIDE),
        ("local", {"filters": 4, "size": 5, "pad": 2}, WIDE),
        ("lrn_within", {"size": 5}, (2, 8, 8, 16)),
        ("pool", {"mode": "max", "size": 9, "dilation": 2, "pad": 8}, (2, 33, 33, 3)),
    ],
)
def test_sums_of_many_terms_are_not_rounded_on_the_way(kind: str, attrs: dict[str, Any], shape: Shape) -> None:
    stored = SingleLayer(kind, attrs, [Tensor(shape, "bfloat16")], cpu(), variant="plain")
    exact = SingleLayer(kind, attrs, [Tensor(shape)], cpu(), dtype="float64")
    random, tensors = np.random.default_rng(0), {"x": stored.t.x, "d_y": stored.t.y}
    tensors |= {name: stored.t[name] for name in stored.t.names("parameter")}
    values = {name: random.random(one.shape).astype(ml_dtypes.bfloat16) for name, one in tensors.items()}
    forward = [(one, one.forward(values)) for one in (stored, exact)]
    found = [made | one.backward(values | made) for one, made in forward]
    for name in ("y", "d_x"):
        got, wanted = (np.asarray(one[name], np.float64) for one in found)
        assert abs(got - wanted).max() <= ROUNDINGS * abs(wanted).max(), name
