"""Fast maximum pooling on CPUs: what the plain kernels give for any window, ties and NaN included."""

from __future__ import annotations

import random

import numpy as np
import pytest

from netspec.check.single import SingleLayer
from netspec.check.subject import cpu
from netspec.contract.tensor import Tensor


def fuzzed(rng: random.Random) -> tuple[dict[str, object], tuple[int, ...]]:
    """Attributes and a shape."""
    size = [rng.choice([1, 2, 3, 3, 5]) for _ in range(2)]
    pad = [rng.randrange(min(size[axis // 2], 3)) for axis in range(4)]
    attrs = {"mode": "max", "size": size, "stride": [rng.randrange(1, 5) for _ in range(2)], "pad": pad}
    shape = rng.choice([1, 2, 9]), rng.randrange(5, 12), rng.randrange(5, 12), rng.choice([1, 3, 16, 37])
    return attrs | {"rounding": rng.choice(["floor", "ceil"])}, shape


@pytest.mark.parametrize("seed", range(30))
def test_what_the_plain_kernels_give(seed: int) -> None:
    attrs, shape = fuzzed(random.Random(seed))
    values = np.random.default_rng(seed)
    x = values.integers(0, 4, shape).astype(np.float32)
    x[values.random(shape) < 0.02] = np.nan
    answers = []
    for variant in ("plain", "rows"):
        one = SingleLayer("pool", attrs, [Tensor(shape)], cpu(), variant=variant)
        forward = one.forward({"x": x})
        d_y = np.random.default_rng(1).standard_normal(one.t.y.shape).astype(np.float32)
        answers.append({**forward, **one.backward({"x": x, **forward, "d_y": d_y})})
        again = SingleLayer("pool", attrs, [Tensor(shape)], cpu(), phase="predict", variant=variant)
        np.testing.assert_array_equal(again.forward({"x": x})["y"], forward["y"])
    for name in ("y", "argmax"):
        np.testing.assert_array_equal(answers[0][name], answers[1][name])
    np.testing.assert_allclose(answers[0]["d_x"], answers[1]["d_x"], rtol=0, atol=1e-5)
