"""Convolution and dense layers by AVX512-BF16: against float64 on rounded operands, teams, choice and non-finites."""

from __future__ import annotations

import random
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from netspec.check.compare import error
from netspec.check.shuffled import ShuffledCpu
from netspec.check.single import SingleLayer, Values
from netspec.check.subject import cpu
from netspec.contract.tensor import Shape, Tensor
from netspec.device.cpu import bfloat16_unit
from netspec.layers._cpu import bf16_dense
from netspec.program.choice import candidates

SUMS = 2e-6
"""Error of float32 sums, as a share of the largest result."""
HALF = 2.0**-8
"""What rounding to bfloat16 takes from a number at most."""

pytestmark = pytest.mark.skipif(not bfloat16_unit._has_unit(), reason="kernels are not compiled for AVX512-BF16 here")


def single(kind: str, attrs: dict[str, Any], shape: Shape, variant: str = "bf16") -> SingleLayer:
    return SingleLayer(kind, attrs, [Tensor(shape, "bfloat16")], cpu(), variant=variant)


def drawn(one: SingleLayer, seed: int) -> dict[str, Any]:
    """Values as they are once they are stored."""
    rng = np.random.default_rng(seed)
    tensors = {"x": one.t.x, "d_y": one.t.y, "weight": one.t.weight}
    values = {name: rng.standard_normal(tensor.shape).astype(np.float32) for name, tensor in tensors.items()}
    values = {name: value.astype(ml_dtypes.bfloat16).astype(np.float32) for name, value in values.items()}
    return values | ({"bias": rng.standard_normal(one.t.bias.shape)} if one.layer.attrs.bias else {})


def trip(one: SingleLayer, values: Values) -> dict[str, Any]:
    return {**one.forward(values), **one.backward(values)}


def hold(one: SingleLayer, kind: str, seed: int) -> None:
    """The layer's results are the exact ones but for float32 sums and what is rounded to bfloat16."""
    values = drawn(one, seed)
    attrs = {name: getattr(one.layer.attrs, name) for name in type(one.layer).attrs}
    exact = SingleLayer(kind, attrs, [Tensor(one.t.x.shape)], cpu(), dtype="float64")
    got, wanted = trip(one, values), trip(exact, values)
    for name in ("y", "d_x"):
        away = abs(np.asarray(got[name], np.float64) - wanted[name]) - HALF * abs(wanted[name])
        assert away.max() <= SUMS * abs(wanted[name]).max(), name
    assert error(got["d_weight"], wanted["d_weight"]) <= SUMS


def fuzzed(seed: int) -> tuple[dict[str, Any], Shape]:
    """Attributes and a shape, with channels and filters round the widths of register tiles."""
    rng, sizes = random.Random(seed), [1, 2, 3, 7, 15, 16, 20, 32, 33, 48, 52, 96]
    groups, size = rng.choice([1, 1, 2, 3]), [rng.randrange(1, 6), rng.randrange(1, 6)]
    attrs = {"filters": groups * rng.choice(sizes), "groups": groups, "size": size}
    attrs |= {"stride": [rng.randrange(1, 5), rng.randrange(1, 5)], "pad": [rng.randrange(4) for _ in range(4)]}
    attrs |= {"bias": rng.random() < 0.5, "rounding": rng.choice(["floor", "ceil"])}
    height, width = rng.randrange(size[0], 12), rng.randrange(size[1], 12)
    return attrs, (rng.choice([1, 2, 3, 5, 37]), height, width, groups * rng.choice(sizes))


@pytest.mark.parametrize("seed", range(24))
def test_any_convolution_is_exact_but_for_rounding(seed: int) -> None:
    attrs, shape = fuzzed(seed)
    hold(single("conv", attrs, shape), "conv", seed)


def test_many_images_are_summed_a_few_at_a_time() -> None:
    one = single("conv", {"filters": 40, "size": 3, "pad": 1}, (70, 24, 24, 72))
    assert 1 < one.layer.scalars(one.t)["at_once"] < one.layer.scalars(one.t)["chunk_images"]
    hold(one, "conv", 1)


@pytest.mark.parametrize(
    ("attrs", "shape"),
    [
        ({"units": 5}, (3, 2, 3, 4)),
        ({"units": 66, "groups": 3, "bias": False}, (4, 21)),
        ({"units": 2 * bf16_dense.COLUMNS + 17}, (14, 2 * bf16_dense.TERMS + 5)),
        ({"units": bf16_dense.TERMS + 13, "groups": 1}, (30, bf16_dense.ROWS + 100)),
        ({"units": 48}, (1, 3, 3, 48)),
        ({"units": 96, "groups": 2}, (27, 96)),
    ],
)
def test_any_dense_layer_is_exact_but_for_rounding(attrs: dict[str, Any], shape: Shape) -> None:
    hold(single("dense", attrs, shape), "dense", 1)
    if shape[0] <= bf16_dense.FEW:
        hold(single("dense", attrs, shape, "bf16_gemv"), "dense", 1)


@pytest.mark.parametrize(
    ("kind", "attrs", "shape"),
    [
        ("conv", {"filters": 36, "size": 3, "pad": 1, "groups": 2}, (35, 4, 5, 40)),
        ("conv", {"filters": 4, "size": 3, "stride": 2, "pad": 1}, (2, 7, 5, 3)),
        ("dense", {"units": 2 * bf16_dense.COLUMNS + 2, "groups": 2}, (18, 1200)),
    ],
)
def test_any_team_gives_the_same_bits(kind: str, attrs: dict[str, Any], shape: Shape) -> None:
    usual = single(kind, attrs, shape)
    values = drawn(usual, 1)
    wanted = trip(usual, values)
    for team in (1, 2, 3):
        dealt = SingleLayer(kind, attrs, [Tensor(shape, "bfloat16")], ShuffledCpu(team, team), variant="bf16")
        for name, array in trip(dealt, values).items():
            assert array.tobytes() == wanted[name].tobytes(), name


@pytest.mark.parametrize("kind", ["conv", "dense"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(kind: str, value: float) -> None:
    one = single(kind, {"filters": 5, "size": 3, "pad": 1} if kind == "conv" else {"units": 5}, (2, 4, 4, 3))
    values = drawn(one, 1)
    plain = {name: array.copy() for name, array in values.items()}
    values["x"][1, 2, 2, 1], values["d_y"].flat[3] = value, value
    got, usual = trip(one, values), trip(one, plain)
    assert not np.isfinite(got["d_weight"]).all() and not np.isfinite(got["d_x"][0].astype(np.float32)).all()
    assert not np.isfinite(got["y"][1].astype(np.float32)).all()
    np.testing.assert_array_equal(got["y"][0], usual["y"][0])
    np.testing.assert_array_equal(got["d_x"][1], usual["d_x"][1])


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_is_taken_for_stored_arrays_where_the_processor_has_the_instructions(kind: str) -> None:
    attrs = {"filters": 32, "size": 3} if kind == "conv" else {"units": 32}
    shape = (16, 8, 8, 16)
    stored, plain = single(kind, attrs, shape), SingleLayer(kind, attrs, [Tensor(shape)], cpu())
    assert candidates(stored.layer, stored.t, "cpu", "forward", (), "avx512_bf16")[0] == "bf16"
    assert "bf16" not in candidates(stored.layer, stored.t, "cpu", "forward", (), "emulated")
    assert "bf16" not in candidates(plain.layer, plain.t, "cpu", "forward", (), "avx512_bf16")
