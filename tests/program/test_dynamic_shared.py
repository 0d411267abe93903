"""Dynamic shared memory and tensor maps on their way from a kernel's mark to its pass."""

from __future__ import annotations

from itertools import count

import pytest

from netspec.check.subject import Case
from netspec.contract.tensor import Tensor
from netspec.contract.tensor_map import TensorMap
from netspec.device.cpu.device import CpuDevice
from netspec.errors import NetspecError
from netspec.program.passes import lower
from netspec.registry import layer_types, load_plugin

TEXT = """
from netspec.plugin import Layer, Tensor, TensorMap, forward, register


@register("{name}")
class Mapped(Layer):
    def outputs(self, x):
        return Tensor(x.shape)

    @forward("cuda", over="x", writes="y", threads=(32, 4), shared={shared},
             maps=lambda t: dict.fromkeys(("x_map", "{parameter}"),
                                          TensorMap("{array}", t.x.shape[::-1], (4 * t.x.shape[1],), (8, 8))))
    def forward_cuda(x, x_map, y):
        pass
"""
NUMBERS = count()


def passes_of(folder, shared="lambda t: 100 * t.x.shape[1]", parameter="x_map", array="x"):
    name = f"mapped_{next(NUMBERS)}"
    file = folder / f"{name}.py"
    file.write_text(TEXT.format(name=name, shared=shared, parameter=parameter, array=array))
    load_plugin(file)
    single = Case(layer_types()[name], {}, (Tensor((16, 64), "float32"),)).on(CpuDevice(0))
    return lower(single.layer, single.t, "cuda", "forward", "plain", {})


def test_they_reach_the_pass(tmp_path):
    (one,) = passes_of(tmp_path)
    assert (one.shared, one.bound) == (6400, 128)
    assert one.maps == {"x_map": TensorMap("x", (64, 16), (256,), (8, 8))}
    assert dict(one.args)["x_map"] is None and not one.scalars
    (fixed,) = passes_of(tmp_path, shared="1 << 16")
    (none,) = passes_of(tmp_path, shared="0")
    assert (fixed.shared, fixed.bound, none.shared, none.bound) == (1 << 16, 128, 0, 0)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"parameter": "w_map"}, "maps='w_map' is no parameter of the kernel"),
        ({"array": "weight"}, "the array 'weight' of the tensor map 'x_map' is no parameter of the kernel"),
        ({"array": "x_map"}, "the array 'x_map' of the tensor map 'x_map' is no parameter of the kernel"),
    ],
)
def test_maps_of_what_the_kernel_does_not_have_are_told(tmp_path, changed, words):
    with pytest.raises(NetspecError, match=rf"mapped_\d+\.py:\d+: Mapped.forward_cuda: .*{words}"):
        passes_of(tmp_path, **changed)
