"""ONNX models as other programs write them, made node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

FLOAT = 1
"""float32 in TensorProto's numbers."""


class Model:
    """A graph that grows: ``add`` gives the name of a node's output."""

    def __init__(self, *shape: int | str, opset: int = 17, seed: int = 0) -> None:
        self.opset, self.chance = opset, np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs = [helper.make_tensor_value_info("x", FLOAT, shape)]
        self.shape = shape

    def constant(self, array: Any, name: str | None = None) -> str:
        array = np.asarray(array)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        self.constants.append(numpy_helper.from_array(array, name or f"c{len(self.constants)}"))
        return str(self.constants[-1].name)

    def weight(self, *shape: int, name: str | None = None) -> str:
        return self.constant(self.chance.normal(0, 1 / np.sqrt(max(1, np.prod(shape[1:]))), shape), name)

    def add(self, op: str, *inputs: str, count: int = 1, name: str = "", **attributes: Any) -> Any:
        outputs = [f"v{len(self.nodes)}.{i}" for i in range(count)]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=name, **attributes))
        return outputs[0] if count == 1 else outputs

    def made(self, output: str) -> Any:
        info = helper.make_tensor_value_info(output, FLOAT, None)
        graph = helper.make_graph(self.nodes, "net", self.inputs, [info], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def torchvision_alexnet(side: int = 63, flat: str = "Flatten") -> Any:
    """As torch.onnx.export writes torchvision's, with fewer filters."""
    m = Model("batch", 3, side, side)
    v, widths = "x", [(3, 8, 11, 4, 2), (8, 12, 5, 1, 2), (12, 16, 3, 1, 1), (16, 8, 3, 1, 1)]
    for number, (depth, filters, size, stride, pad) in zip((0, 3, 6, 8), widths, strict=True):
        name = f"features.{number}"
        arrays = m.weight(filters, depth, size, size, name=f"{name}.weight"), m.weight(filters, name=f"{name}.bias")
        v = m.add("Conv", v, *arrays, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[pad] * 4, dilations=[1, 1],
                  group=1, name=f"/features/{name}/Conv")
        v = m.add("Relu", v, name=f"/features/features.{number + 1}/Relu")
        if number in (0, 3, 8):
            v = m.add("MaxPool", v, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=0, pads=[0] * 4)
    v = m.add("GlobalAveragePool", v) if side < 63 else v
    pixels = 1
    if flat == "Flatten":
        v = m.add("Flatten", v, axis=1)
    else:
        shape = m.add("Shape", v)
        first = m.add("Unsqueeze", m.add("Gather", shape, m.constant(np.int64(0)), axis=0), m.constant(np.array([0])))
        v = m.add("Reshape", v, m.add("Concat", first, m.constant(np.array([-1])), axis=0))
    v = m.add("Dropout", v, m.constant(np.float32(0.5)))
    v = m.add("Gemm", v, m.weight(32, 8 * pixels, name="classifier.1.weight"), m.weight(32, name="classifier.1.bias"),
              transB=1, alpha=1.0, beta=1.0)
    v = m.add("Relu", v)
    return m.made(m.add("Gemm", v, m.weight(7, 32, name="classifier.6.weight"), m.weight(7), transB=1))
