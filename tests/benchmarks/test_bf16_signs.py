"""What docs/cuda.md says of fc1.bias in bf16: a sum over images, of which rounding moves some past a ReLU's kink."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from places import ROOT

from netspec.runners.execution.session import Session
from netspec.spec import load

Array = np.ndarray[Any, Any]
IMAGES = 16


class Trip(NamedTuple):
    """Where fc1's ReLU is open, and the gradient of fc1's bias, of one iteration."""

    open: Array
    gradient: Array


@pytest.fixture(scope="module")
def network() -> tuple[dict[str, Array], Array, Array]:
    """The parameters of cifar10-quick, and the batch that benchmarks/gpu.py compares a card with CPUs on."""
    with Session(load("cifar10-quick", ("train.batch=16",)), ["cpu"], phases=("predict",)) as session:
        params = {name: one.astype(np.float64) for name, one in session.store.tensors().items()}
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, 32, 32, 3)).astype(np.float64)
    return params, images, random.integers(0, 10, IMAGES)


def rounded(values: Array) -> Array:
    """Factors of products as bf16 has them."""
    return values.astype(ml_dtypes.bfloat16).astype(np.float64)


def windows(x: Array, size: int, stride: int, before: int, after: int, fill: float) -> Array:
    """(N, H, W, size * size, C)."""
    padded = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)), constant_values=fill)
    found = sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return np.moveaxis(found, 3, -1).reshape(*found.shape[:3], size * size, -1)


def trip(network: tuple[dict[str, Array], Array, Array], factor: Callable[[Array], Array], held: Trip | None) -> Trip:
    """One iteration whose products take their factors so; ``held`` opens fc1's ReLU where another one did."""
    params, x, labels = network
    for conv, mode in (("conv1", np.nanmax), ("conv2", np.nanmean), ("conv3", np.nanmean)):
        weight = params[f"{conv}.weight"]
        columns = windows(x, 5, 1, 2, 2, 0.0).reshape(*x.shape[:3], -1)
        x = factor(columns) @ factor(weight.reshape(-1, weight.shape[-1])) + params[f"{conv}.bias"]
        x = np.maximum(mode(windows(x if conv == "conv1" else np.maximum(x, 0), 3, 2, 0, 1, np.nan), axis=3), 0)
    z = factor(x.reshape(IMAGES, -1)) @ factor(params["fc1.weight"].reshape(-1, 64)) + params["fc1.bias"]
    is_open = z > 0 if held is None else held.open
    logits = factor(np.where(is_open, z, 0)) @ factor(params["fc2.weight"]) + params["fc2.bias"]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    d = (probs - np.eye(10)[labels]) / IMAGES
    return Trip(is_open, np.where(is_open, factor(d) @ factor(params["fc2.weight"]).T, 0).sum(0))


def test_fc1_bias_is_off_where_a_relu_opens_for_another_image(network: Any) -> None:
    exact = trip(network, np.asarray, None)
    narrow, held = trip(network, rounded, None), trip(network, rounded, exact)
    off = [np.abs(one.gradient - exact.gradient) / np.abs(exact.gradient).max() for one in (narrow, held)]
    moved = narrow.open != exact.open
    assert (moved.sum(), moved.size, moved[:, off[0].argmax()].sum()) == (4, 1024, 2)
    assert (round(off[0].max(), 4), round(off[1].max(), 4)) == (0.1749, 0.0033)
    told = " ".join((ROOT / "docs" / "cuda.md").read_text().split())
    assert "4 of its 1,024 inputs" in told and "17.5 %" in told and "0.3 %" in told
