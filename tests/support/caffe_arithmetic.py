"""Layers as Caffe computes them, of (N, C, H, W) in float64."""

from __future__ import annotations

from typing import Any

import numpy as np


def windows(x: Any, size: int, stride: int, pad: int) -> Any:
    """Caffe's pooling windows of (N, C, H, W), those over the edge clipped: rounding up, no window begins beyond."""
    height = x.shape[2]
    out = -(-(height + 2 * pad - size) // stride) + 1
    out -= pad > 0 and (out - 1) * stride >= height + pad
    for i in range(out):
        for j in range(out):
            top, left = i * stride - pad, j * stride - pad
            yield i, j, out, x[:, :, max(top, 0) : top + size, max(left, 0) : left + size]


def pooled(x: Any, size: int, stride: int, pad: int, how: Any) -> Any:
    made = {(i, j): how(window, axis=(2, 3)) for i, j, _, window in windows(x, size, stride, pad)}
    side = max(i for i, _ in made) + 1
    return np.stack([np.stack([made[i, j] for j in range(side)], -1) for i in range(side)], -2)


def convolved(x: Any, weight: Any, pad: int) -> Any:
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    size, out = weight.shape[2], x.shape[2] - weight.shape[2] + 1
    groups, share = x.shape[1] // weight.shape[1], len(weight) * weight.shape[1] // x.shape[1]
    y = np.zeros((len(x), len(weight), out, out))
    for f in range(len(weight)):
        part = np.split(x, groups, 1)[f // share]
        for i in range(out):
            for j in range(out):
                y[:, f, i, j] = (part[:, :, i : i + size, j : j + size] * weight[f]).sum((1, 2, 3))
    return y


def softmax(x: Any) -> Any:
    powers = np.exp(x - x.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
