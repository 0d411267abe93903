"""Batch normalisation without parameters."""

import math

from netspec.plugin import Layer, Tensor, backward, forward, number, register


@register("normalised_rows")
class Normalised(Layer):
    """y = (x - mean) / sqrt(variance + epsilon)"""

    examples = ()
    over_images = "mean and variance"
    attrs = {"epsilon": number("Added to the variance.", default=1e-5, above=0)}

    def outputs(self, x):
        return Tensor(x.shape, x.dtype)

    def saved(self, x):
        return {"mean": Tensor(x.shape[-1:]), "scale": Tensor(x.shape[-1:])}

    @forward("cpu", over="mean", writes=("mean", "scale"), block=4)
    def stats(start, stop, x, mean, scale, epsilon):
        values = x.reshape(-1, x.shape[-1])
        n = x.dtype.type(values.shape[0])
        for c in range(start, stop):
            total = 0.0
            for r in range(values.shape[0]):
                total += values[r, c]
            mean[c] = total / n
            square = 0.0
            for r in range(values.shape[0]):
                square += (values[r, c] - mean[c]) * (values[r, c] - mean[c])
            scale[c] = 1 / math.sqrt(square / n + epsilon)

    @forward("cpu", over="x", writes="y")
    def apply(start, stop, x, mean, scale, y):
        for i in range(start, stop):
            c = i % mean.size
            y[i] = (x[i] - mean[c]) * scale[c]

    @backward("cpu", over="x", axes=-1, writes="d_x")
    def back(start, stop, x, mean, scale, dy, d_x):
        a = x.reshape(-1, x.shape[-1])
        g = dy.reshape(-1, x.shape[-1])
        d = d_x.reshape(-1, x.shape[-1])
        n = x.dtype.type(a.shape[0])
        for c in range(start, stop):
            s, t = 0.0, 0.0
            for r in range(a.shape[0]):
                s += g[r, c]
                t += g[r, c] * (a[r, c] - mean[c]) * scale[c]
            for r in range(a.shape[0]):
                d[r, c] = scale[c] * (g[r, c] - s / n - (a[r, c] - mean[c]) * scale[c] * t / n)
