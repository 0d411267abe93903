"""conv3d and pool3d against numpy, window by window."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from netspec.check.single import SingleLayer
from netspec.contract.tensor import Tensor
from netspec.device.cpu.device import CpuDevice
from netspec.errors import LayerError
from netspec.layers.conv3d import Conv3d
from netspec.layers.pool3d import Pool3d

Array = np.ndarray[Any, Any]
INIT = {"init": {"type": "he"}}


def drawn(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def windows(x: Array, out: tuple[int, ...], size: Any, stride: Any, pad: Any, apart: Any):
    """Of each window its place in the output, and the places of the input in it that are there, by number."""
    for at in itertools.product(*map(range, out)):
        found = {}
        for number, taps in enumerate(itertools.product(*map(range, size))):
            place = tuple(o * s - p + t * a for o, s, p, t, a in zip(at, stride, pad, taps, apart, strict=True))
            if all(0 <= one < length for one, length in zip(place, x.shape[1:4], strict=True)):
                found[number] = place
        yield at, found


@pytest.mark.parametrize(
    ("attrs", "size", "stride", "pad", "apart", "groups"),
    [
        ({"size": 2}, (2, 2, 2), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
        ({"size": [3, 2, 1], "stride": [1, 2, 2], "pad": [1, 0, 2, 1, 0, 0], "groups": 2},
         (3, 2, 1), (1, 2, 2), (1, 2, 0), (1, 1, 1), 2),
        ({"size": 2, "dilation": [1, 2, 1], "pad": [0, 1, 1], "stride": 2},
         (2, 2, 2), (2, 2, 2), (0, 1, 1), (1, 2, 1), 1),
    ],
)  # fmt: skip
def test_convolutions_are_sums_over_windows(attrs, size, stride, pad, apart, groups) -> None:
    x, filters = drawn(2, 3, 4, 5, 4), 4
    layer = SingleLayer("conv3d", {"filters": filters, **attrs, **INIT}, [Tensor(x.shape)], CpuDevice(0))
    weight, bias = drawn(*layer.t.weight.shape), drawn(filters)
    y = layer.forward({"x": x, "weight": weight, "bias": bias})["y"]
    dy = drawn(*y.shape)
    back = layer.backward({"x": x, "weight": weight, "bias": bias, "dy": dy})
    expected, d_x, d_weight = np.zeros(y.shape) + bias, np.zeros(x.shape), np.zeros((np.prod(size), *weight.shape[3:]))
    kernels, depth, share = weight.reshape(-1, *weight.shape[3:]), 4 // groups, filters // groups
    for at, found in windows(x, y.shape[1:4], size, stride, pad, apart):
        for number, place in found.items():
            for g in range(groups):
                c, f = slice(g * depth, (g + 1) * depth), slice(g * share, (g + 1) * share)
                expected[(slice(None), *at, f)] += x[(slice(None), *place, c)] @ kernels[number][:, f]
                slope = dy[(slice(None), *at, f)]
                d_x[(slice(None), *place, c)] += slope @ kernels[number][:, f].T
                d_weight[number][:, f] += x[(slice(None), *place, c)].T @ slope
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(back["d_x"], d_x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(back["d_weight"], d_weight.reshape(weight.shape), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(back["d_bias"], dy.sum(axis=(0, 1, 2, 3)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize(
    ("attrs", "size", "stride", "pad", "apart"),
    [
        ({"size": 2, "stride": 2, "rounding": "ceil"}, (2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1)),
        ({"size": [2, 3, 2], "pad": [1, 0, 1, 1, 0, 1], "dilation": [1, 1, 2]},
         (2, 3, 2), (1, 1, 1), (1, 1, 0), (1, 1, 2)),
        ({"size": "image"}, (3, 4, 5), (1, 1, 1), (0, 0, 0), (1, 1, 1)),
    ],
)  # fmt: skip
def test_pools_take_one_number_of_each_window(mode, attrs, size, stride, pad, apart) -> None:
    x = drawn(2, 3, 4, 5, 3)
    layer = SingleLayer("pool3d", {"mode": mode, **attrs}, [Tensor(x.shape)], CpuDevice(0))
    forward = layer.forward({"x": x})
    y, dy = forward["y"], drawn(*forward["y"].shape)
    d_x = layer.backward({"dy": dy, **forward})["d_x"]
    expected, slopes = np.zeros(y.shape), np.zeros(x.shape)
    for at, found in windows(x, y.shape[1:4], size, stride, pad, apart):
        places = list(found.values())
        taken = np.stack([x[(slice(None), *place)] for place in places])
        expected[(slice(None), *at)] = taken.max(axis=0) if mode == "max" else taken.mean(axis=0)
        for number, place in enumerate(places):
            share = taken.argmax(axis=0) == number if mode == "max" else 1 / len(places)
            slopes[(slice(None), *place)] += dy[(slice(None), *at)] * share
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(d_x, slopes, rtol=1e-4, atol=1e-5)


def test_averages_may_count_padding() -> None:
    x = np.ones((1, 2, 2, 2, 1), np.float32)
    attrs = {"mode": "average", "size": 2, "pad": 1, "count_include_pad": True}
    layer = SingleLayer("pool3d", attrs, [Tensor(x.shape)], CpuDevice(0))
    assert layer.forward({"x": x})["y"][0, :, 1, 1, 0].tolist() == [0.5, 1.0, 0.5]


@pytest.mark.parametrize(
    ("cls", "attrs", "shape", "message"),
    [
        (Conv3d, {"filters": 2, "size": 2}, (1, 4, 4, 3), "must be of shape"),
        (Conv3d, {"filters": 2, "size": [4, 1, 1]}, (1, 3, 4, 4, 3), "does not fit the input's depth of 3"),
        (Conv3d, {"filters": 3, "size": 1, "groups": 2}, (1, 3, 4, 4, 4), "cannot be divided into 2 groups"),
        (Pool3d, {"mode": "max", "size": 2, "pad": 2}, (1, 3, 4, 4, 3), "would lie in padding of depth alone"),
        (Pool3d, {"mode": "max", "size": 2, "dilation": 8, "pad": 4}, (1, 3, 3, 3, 2), "reads padding alone"),
        (Pool3d, {"mode": "max", "size": 2, "count_include_pad": True}, (1, 3, 4, 4, 3), "a maximum counts no places"),
    ],
)
def test_what_does_not_fit_is_refused(cls, attrs, shape, message) -> None:
    with pytest.raises(LayerError, match=message):
        cls(attrs | (INIT if cls is Conv3d else {})).tensors([Tensor(shape)])
