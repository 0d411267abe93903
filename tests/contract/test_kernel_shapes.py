"""What docs/plugins.md says of positions and of the axes that arrays have in kernels."""

from __future__ import annotations

import numpy as np
import pytest

import netspec
from netspec.device.gpus import finds_compiler, gpus

PLUGIN = '''
"""Kernels that write how many axes their arrays have: 10 times those of x, and those of weight."""
from netspec.plugin import Layer, Param, Tensor, choice, cuda, forward, register

WAYS = ("flat", "image", "pair", "grid", "linear")

def blocks(t):
    return (t.x.shape[0],)

@register("told_axes")
class ToldAxes(Layer):
    """See the file."""
    attrs = {"way": choice(*WAYS, description="How work is cut.")}

    def outputs(self, x):
        return Tensor(x.shape, x.dtype)

    def params(self, x):
        return {"weight": Param(x.shape[1:], {"type": "constant", "value": 0.0})}

    def scalars(self, t, index=None):
        return {"image": t.x.size // t.x.shape[0]}

    @forward("cpu", over="x", writes="y", when={"way": "flat"})
    def flat_cpu(start, stop, x, weight, y):
        y[start:stop] = 10 * x.ndim + weight.ndim

    @forward("cpu", over="x", axes=0, writes="y", when={"way": "image"})
    def image_cpu(start, stop, x, weight, y):
        for n in range(start, stop):
            y[n] = 10 * x.ndim + weight.ndim

    @forward("cpu", over="x", axes=(0, 1), writes="y", when={"way": "pair"})
    def pair_cpu(start, stop, x, weight, y):
        for i in range(start, stop):
            y[i // x.shape[1], i % x.shape[1]] = 10 * x.ndim + weight.ndim

    @forward("cuda", over="x", writes="y", when={"way": "flat"})
    def flat_cuda(x, weight, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = 10 * x.ndim + weight.ndim

    @forward("cuda", over="x", axes=(0, 1), writes="y", when={"way": "pair"})
    def pair_cuda(x, weight, y):
        i = cuda.grid(1)
        if i < x.shape[0] * x.shape[1]:
            for w in range(x.shape[2]):
                for c in range(x.shape[3]):
                    y[i // x.shape[1], i % x.shape[1], w, c] = 10 * x.ndim + weight.ndim

    @forward("cuda", over="x", grid=blocks, threads=(4, 8), writes="y", when={"way": "grid"})
    def grid_cuda(x, weight, y, image):
        first = cuda.blockIdx.x * image
        for i in range(first + 4 * cuda.threadIdx.y + cuda.threadIdx.x, first + image, 32):
            y.flat[i] = 10 * x.ndim + weight.ndim

    @forward("cuda", over="x", linear=True, writes="y", when={"way": "linear"})
    def linear_cuda(x, weight, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = 10 * x.ndim + weight.ndim
'''
X = np.zeros((2, 3, 5, 4))


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory):
    file = tmp_path_factory.mktemp("shapes") / "told_axes.py"
    file.write_text(PLUGIN)
    return netspec.layer(file, {"way": "flat"})


@pytest.mark.parametrize(("way", "axes"), [("flat", 13), ("image", 43), ("pair", 43)])
def test_axes_on_cpus(way, axes):
    assert (netspec.layer("told_axes", {"way": way})(X).outputs["y"] == axes).all()


@pytest.mark.skipif(not gpus() and not finds_compiler(), reason="no GPU, and CUDA's compiler is not installed")
@pytest.mark.parametrize(("way", "axes"), [("flat", 13), ("pair", 43), ("grid", 43), ("linear", 11)])
def test_axes_on_gpus(way, axes):
    assert (netspec.layer("told_axes", {"way": way}, backend="cuda")(X).outputs["y"] == axes).all()
