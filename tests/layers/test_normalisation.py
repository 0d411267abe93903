"""Layers with numbers for each channel, and normalisations, against numpy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netspec.check.single import Array, SingleLayer
from netspec.check.subject import complete, cpu
from netspec.contract.kernel import Phase
from netspec.contract.tensor import Tensor
from netspec.errors import LayerError
from netspec.registry import layer_types

SHAPES = [(6, 5, 3, 12), (7, 12), (2, 40, 30, 12)]
EPSILON = 1e-5


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(3, 2, shape).astype(np.float32)


def run(layer_type: str, x: Array, phase: Phase = "train", attrs: Any = None, **values: Array) -> dict[str, Array]:
    given = complete(layer_types()[layer_type], attrs or {})
    return SingleLayer(layer_type, given, [Tensor(x.shape)], cpu(), phase=phase).forward({"x": x, **values})


def numbers() -> dict[str, Array]:
    return {"weight": drawn(12, seed=1), "bias": drawn(12, seed=2)}


def affine(normal: Array) -> Array:
    return normal * numbers()["weight"] + numbers()["bias"]


def normal(x: Array, axes: tuple[int, ...]) -> Array:
    exact = x.astype(np.float64)
    return (exact - exact.mean(axes, keepdims=True)) / np.sqrt(exact.var(axes, keepdims=True) + EPSILON)


def close(got: Array, wanted: Array) -> None:
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_in_training(shape: tuple[int, ...]) -> None:
    x, states = drawn(*shape), {"mean": drawn(12, seed=3), "variance": np.full(12, 2.0, np.float32)}
    made = run("batch_norm", x, attrs={"momentum": 0.25}, **numbers(), **states)
    axes = tuple(range(len(shape) - 1))
    close(made["y"], affine(normal(x, axes)))
    close(made["next_mean"], 0.75 * states["mean"] + 0.25 * x.mean(axes, np.float64))
    close(made["next_variance"], 0.75 * 2.0 + 0.25 * x.astype(np.float64).var(axes, ddof=1))


def test_batch_norm_far_from_zero() -> None:
    x = drawn(64, 8, 8, 12) + np.float32(3000)
    y = run("batch_norm", x, **numbers(), mean=np.zeros(12), variance=np.ones(12))["y"]
    np.testing.assert_allclose(y, affine(normal(x, (0, 1, 2))), rtol=0, atol=1e-2)  # float32 has 2.4e-4 there


@pytest.mark.parametrize("phase", ["eval", "predict"])
def test_batch_norm_evaluates_by_its_states(phase: Phase) -> None:
    x, states = drawn(4, 3, 3, 12), {"mean": drawn(12, seed=3), "variance": drawn(12, seed=4) ** 2}
    made = run("batch_norm", x, phase, **numbers(), **states)
    assert made.keys() == {"y"}
    close(made["y"], affine((x - states["mean"]) / np.sqrt(states["variance"].astype(np.float64) + EPSILON)))


def test_one_value_has_no_variance() -> None:
    single = layer_types()["batch_norm"](complete(layer_types()["batch_norm"], {}), "train")
    with pytest.raises(LayerError, match="more than one value"):
        single.outputs(Tensor((1, 1, 1, 4)))


@pytest.mark.parametrize("phase", ["train", "eval"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("groups", [1, 3])
def test_layer_norm(shape: tuple[int, ...], groups: int, phase: Phase) -> None:
    x = drawn(*shape)
    apart = x.reshape(*shape[:-1], groups, -1)
    made = run("layer_norm", x, phase, {"groups": groups}, **numbers())
    close(made["y"], affine(normal(apart, (apart.ndim - 1,)).reshape(shape)))


@pytest.mark.parametrize("phase", ["train", "eval"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("groups", [1, 4])
def test_group_norm(shape: tuple[int, ...], groups: int, phase: Phase) -> None:
    x = drawn(*shape)
    apart = x.reshape(shape[0], -1, groups, 12 // groups)
    made = run("group_norm", x, phase, {"groups": groups}, **numbers())
    close(made["y"], affine(normal(apart, (1, 3)).reshape(shape)))


def test_numbers_of_channels() -> None:
    x, given = drawn(3, 4, 5, 12) - 3, numbers()
    close(run("prelu", x, weight=given["weight"])["y"], np.where(x > 0, x, x * given["weight"]))
    close(run("scale", x, **given)["y"], affine(x))
    close(run("scale", x, attrs={"bias": False}, weight=given["weight"])["y"], x * given["weight"])
