"""Layers whose passes are another layer's: what comes out, and what cannot be lent."""

import re

import numpy as np
import pytest
from cuda_checks import CUDA_CHECKS
from layer_files import forget
from places import ROOT

from netspec.check import checked
from netspec.check.single import SingleLayer
from netspec.contract.tensor import Tensor
from netspec.device.cpu.device import CpuDevice
from netspec.errors import LayerError
from netspec.layers.pad import Pad
from netspec.layers.pool import Pool
from netspec.plugin import Layer, Param, backward, forward
from netspec.registry import layer_types, load_plugin

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


@pytest.fixture
def shown(tmp_path):
    """The layers of the page on plugins."""
    for name in ("flip", "pixel_blocks"):
        file = tmp_path / f"{name}.py"
        file.write_text(re.search(rf"```python\n(# {name}.py\n.*?)```", PAGE, re.DOTALL)[1])
        load_plugin(file)
    yield
    forget()


def both_ways(kind, attrs, x, dy):
    """y and d_x."""
    layer = SingleLayer(kind, attrs, [Tensor(x.shape)], CpuDevice(0))
    y = layer.forward({"x": x})["y"]
    return y, layer.backward({"dy": dy.reshape(y.shape)})["d_x"]


def drawn(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", ["flip", "space_to_depth", "depth_to_space"])
def test_those_of_the_page_pass_the_suite_on_both_backends(name, shown):
    found = {one.name: one for one in checked(name)}
    assert not [one for one in found.values() if one.status == "failed"]
    assert (found["gradients"].status, found["cuda"].status) == ("passed", CUDA_CHECKS)


def test_one_is_another_the_other_way_round(shown):
    wide, deep = drawn(2, 4, 6, 3), drawn(2, 2, 3, 12)
    there, back = both_ways("space_to_depth", {"factor": 2}, wide, deep)
    blocks = wide.reshape(2, 2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4, 5)
    np.testing.assert_array_equal(there, blocks.reshape(deep.shape))
    again, gradient = both_ways("depth_to_space", {"factor": 2}, deep, wide)
    np.testing.assert_array_equal(again, back)
    np.testing.assert_array_equal(gradient, there)
    kernels = {one.function.__name__: one for one in layer_types()["depth_to_space"].kernels}
    lent = ("backward_gather_cpu", "backward_gather_cuda", "forward_scatter_cpu", "forward_scatter_cuda")
    assert tuple(sorted(kernels)) == lent
    assert kernels["backward_gather_cpu"].args == ("dy", "d_x", "factor")
    assert kernels["forward_scatter_cuda"].args == ("x", "y", "factor") and kernels["forward_scatter_cuda"].over == "x"


def test_a_layer_is_its_own_with_other_attributes():
    x = drawn(2, 3, 4, 5)
    _, gradient = both_ways("pad", {"top": 2, "right": -1, "value": 3.0}, x, drawn(2, 5, 3, 5))
    np.testing.assert_array_equal(gradient[:, :, :3], drawn(2, 5, 3, 5)[:, 2:])
    np.testing.assert_array_equal(gradient[:, :, 3], 0)
    x = drawn(2, 3, 4, 5)
    y, gradient = both_ways("permute", {"order": [2, 3, 1]}, x, drawn(2, 4, 5, 3))
    np.testing.assert_array_equal(y, x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(gradient, drawn(2, 4, 5, 3).transpose(0, 3, 1, 2))


def test_local_variables_give_way_to_arrays():
    class Doubled(Layer):
        backward_as = "itself"

        def outputs(self, x):
            return x

        @forward("cpu", over="y", writes="y")
        def twice_cpu(start, stop, x, y):
            dy = 2.0
            for i in range(start, stop):
                y[i] = dy * x[i]

    (_, lent) = Doubled.kernels
    assert lent.function.__code__.co_varnames == ("start", "stop", "dy", "d_x", "dy_", "i")
    found = np.zeros(3)
    lent.function(0, 3, np.arange(3.0), found)
    assert found.tolist() == [0, 2, 4]


class Half(Layer):
    """Of no use to others: its forward pass writes two arrays."""

    @forward("cpu", over="y", writes=("y", "mask"))
    def both_cpu(start, stop, x, y, mask):
        pass

    @backward("cpu", over="d_x", writes="d_x")
    def tied_cpu(start, stop, dy, x, d_x):
        pass


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"backward_as": Half}, "both_cpu of Half is tied to that layer by what else it reads or writes"),
        ({"forward_as": Half}, "tied_cpu of Half is tied to that layer by what else it reads or writes"),
        ({"backward_as": Pool}, "of Pool is tied to that layer by 'when'"),
        ({"forward_as": Layer}, "Layer has no plain backward pass that could be its forward pass"),
        ({"backward_as": "itself"}, "Wrong has no plain forward pass that could be its backward pass"),
        ({"backward_as": "pad"}, "backward_as is a class of layers, not 'pad'"),
        ({"forward_as": "itself"}, "forward_as is a class of layers, not 'itself'"),
    ],
)
def test_what_cannot_be_lent_is_told_where_the_class_is(members, message):
    with pytest.raises(TypeError, match=rf"^Wrong: .*{message}|^Wrong: {message}"):
        type("Wrong", (Layer,), members)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"other_attrs": lambda self: {"top": 1}}, r"whose y is \[1, 3, 2, 3\] for an x of \[1, 2, 2, 3\], and x is"),
        (
            {"params": lambda self, x: {"weight": Param((3,), {"type": "he"})}},
            "which has x, y, and here there are x, y, weight",
        ),
    ],
)
def test_other_shapes_are_refused(more, message):
    made = type("Odd", (Layer,), {"backward_as": Pad, "outputs": lambda self, x: x, **more})
    with pytest.raises(LayerError, match=f"the backward pass is that of a layer of type 'pad', {message}"):
        made({}).tensors([Tensor((1, 2, 2, 3))])
