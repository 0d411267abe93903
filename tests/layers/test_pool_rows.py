"""Fast pooling on CPUs: what the plain kernels give for any window, ties and NaN included."""

from __future__ import annotations

import random

import numpy as np
import pytest

from netspec.check.shuffled import ShuffledCpu
from netspec.check.single import SingleLayer
from netspec.check.subject import cpu
from netspec.contract.tensor import Tensor
from netspec.program.choice import candidates


def fuzzed(rng: random.Random) -> tuple[dict[str, object], tuple[int, ...]]:
    """Attributes and a shape."""
    size = [rng.choice([1, 2, 3, 3, 5]) for _ in range(2)]
    pad = [rng.randrange(min(size[axis // 2], 3)) for axis in range(4)]
    attrs = {"mode": "max", "size": size, "stride": [rng.randrange(1, 5) for _ in range(2)], "pad": pad}
    shape = rng.choice([1, 2, 9]), rng.randrange(5, 12), rng.randrange(5, 12), rng.choice([1, 3, 16, 37, 48])
    return attrs | {"rounding": rng.choice(["floor", "ceil"])}, shape


@pytest.mark.parametrize("seed", range(30))
def test_what_the_plain_kernels_give(seed: int) -> None:
    attrs, shape = fuzzed(random.Random(seed))
    values = np.random.default_rng(seed)
    x = values.integers(0, 4, shape).astype(np.float32)
    x[values.random(shape) < 0.02] = np.nan
    answers = []
    for variant in ("plain", "rows", *(["vectors"] if shape[3] % 16 == 0 else [])):
        one = SingleLayer("pool", attrs, [Tensor(shape)], cpu(), variant=variant)
        forward = one.forward({"x": x})
        d_y = np.random.default_rng(1).standard_normal(one.t.y.shape).astype(np.float32)
        answers.append({**forward, **one.backward({"x": x, **forward, "d_y": d_y})})
        again = SingleLayer("pool", attrs, [Tensor(shape)], cpu(), phase="predict", variant=variant)
        np.testing.assert_array_equal(again.forward({"x": x})["y"], forward["y"])
    for name in ("y", "argmax"):
        for fast in answers[1:]:
            np.testing.assert_array_equal(answers[0][name], fast[name])
    np.testing.assert_allclose(answers[0]["d_x"], answers[1]["d_x"], rtol=0, atol=1e-5)
    assert answers[-1]["d_x"].tobytes() == answers[1]["d_x"].tobytes()


@pytest.mark.parametrize("seed", range(12))
def test_averages_of_vectors_are_those_of_float64(seed: int) -> None:
    attrs, shape = fuzzed(random.Random(seed))
    attrs |= {"mode": "average", "count_include_pad": seed % 2 == 0}
    values = np.random.default_rng(seed)
    shape = (*shape[:3], 16 * values.integers(1, 4))
    answers = []
    for variant, dtype in (("plain", "float64"), ("vectors", "float32")):
        one = SingleLayer("pool", attrs, [Tensor(shape)], cpu(), variant=variant, dtype=dtype)
        draw = np.random.default_rng(seed)
        x, d_y = draw.standard_normal(shape), draw.standard_normal(one.t.y.shape)
        forward = one.forward({"x": x.astype(dtype)})
        answers.append({**forward, **one.backward({"x": x.astype(dtype), **forward, "d_y": d_y.astype(dtype)})})
    for name in ("y", "d_x"):
        np.testing.assert_allclose(answers[1][name], answers[0][name], rtol=0, atol=2e-6)


def test_vectors_are_for_whole_ones() -> None:
    for attrs, depth, taken in (
        ({"size": 3}, 48, True),
        ({"size": 3}, 40, False),
        ({"size": 3, "dilation": 2}, 48, False),
        ({"size": 3, "mode": "average"}, 48, True),
        ({"size": 3, "mode": "average"}, 40, False),
    ):
        one = SingleLayer("pool", {"mode": "max", **attrs}, [Tensor((2, 9, 9, depth))], cpu())
        for direction in one.directions:
            assert (candidates(one.layer, one.t, "cpu", direction)[0] == "vectors") == taken


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("team", [1, 2, 3])
def test_any_team_gives_the_same_bits(team: int, mode: str) -> None:
    shape = (3, 13, 11, 48)
    x = np.random.default_rng(1).integers(0, 4, shape).astype(np.float32)
    answers = []
    for device in (cpu(), ShuffledCpu(team, team)):
        one = SingleLayer("pool", {"mode": mode, "size": 3, "stride": 2}, [Tensor(shape)], device, variant="vectors")
        forward = one.forward({"x": x})
        answers.append({**forward, **one.backward({"x": x, **forward, "d_y": np.ones(one.t.y.shape, np.float32)})})
    for name, array in answers[0].items():
        assert answers[1][name].tobytes() == array.tobytes(), name
