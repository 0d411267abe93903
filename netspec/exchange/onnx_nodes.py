"""What a layer writes its ONNX nodes into: see ``Layer.onnx``.

Images are channels first there, as ONNX has them: (N, H, W, C) of netspec is (N, C, H, W), a sequence (N, F, H, W, C)
is (N, F, C, H, W); all other tensors are as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from netspec.contract.tensor import Tensor


class Nodes:
    """The nodes and constants of a graph, in order.

    ``params`` has the arrays of the layer that is being written, in netspec's layout, by name; ``layer`` its name, from
    which names of nodes are made.
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.params: Mapping[str, np.ndarray[Any, Any]] = {}
        self.layer = ""
        self._taken: set[str] = set()

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node of an ONNX operator with one output, whose name is returned; "" leaves an optional input out."""
        (output,) = self.split(op, *inputs, count=1, **attributes)
        return output

    def split(self, op: str, *inputs: str, count: int, **attributes: Any) -> tuple[str, ...]:
        """The same with several outputs."""
        name = self.name(op)
        outputs = (name,) if count == 1 else tuple(self.name(f"{op}.{i}") for i in range(count))
        self.nodes.append(helper.make_node(op, list(inputs), list(outputs), name=name, **attributes))
        return outputs

    def constant(self, array: Any, name: str = "constant") -> str:
        """An initializer of the graph; floats become float32."""
        array = np.asarray(array, order="C")
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = self.name(name)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def per_channel(self, array: Any, tensor: Tensor, name: str) -> str:
        """An array of shape (C,) as a constant that ONNX's operators broadcast over such a tensor."""
        after = (1, 1) if len(tensor.shape) in (4, 5) else ()
        return self.constant(array.reshape(-1, *after), name)

    def name(self, word: str) -> str:
        """``layer.word``, with a number where that is taken."""
        wanted = name = f"{self.layer}.{word}" if self.layer else word
        number = 1
        while name in self._taken:
            number += 1
            name = f"{wanted}.{number}"
        self._taken.add(name)
        return name

    # Layout ---------------------------------------------------------------------------------------------------------

    def channels_first(self, value: str, tensor: Tensor) -> str:
        """A value in netspec's layout as ONNX has it; ``tensor`` is what netspec knows of it."""
        return self._moved(value, len(tensor.shape), -1, -3)

    def channels_last(self, value: str, tensor: Tensor) -> str:
        """A value as ONNX has it in netspec's layout."""
        return self._moved(value, len(tensor.shape), -3, -1)

    def _moved(self, value: str, rank: int, source: int, target: int) -> str:
        if rank not in (4, 5):
            return value
        order = list(range(rank))
        order.insert(target % rank, order.pop(source % rank))
        return self.add("Transpose", value, perm=order)

    def pieces(self, value: str, tensor: Tensor, widths: Sequence[int]) -> tuple[str, ...]:
        """A value cut along its channels."""
        if len(widths) == 1:
            return (value,)
        sizes = self.constant(np.array(widths, np.int64), "widths")
        return self.split("Split", value, sizes, count=len(widths), axis=channel_axis(tensor))

    def joined(self, values: Sequence[str], tensor: Tensor) -> str:
        """Values joined along their channels; ``tensor`` is one of them, or the result."""
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=channel_axis(tensor))

    def interleaved(self, values: Sequence[str], tensors: Sequence[Tensor], groups: int) -> tuple[str, Tensor]:
        """Several values as one, and its tensor: group g takes the g-th share of the channels of each."""
        widths = [tensor.shape[-1] for tensor in tensors]
        whole = Tensor((*tensors[0].shape[:-1], sum(widths)), tensors[0].dtype)
        cut = [
            self.pieces(value, tensor, [width // groups] * groups)
            for value, tensor, width in zip(values, tensors, widths, strict=True)
        ]
        return self.joined([pieces[g] for g in range(groups) for pieces in cut], whole), whole


def channel_axis(tensor: Tensor) -> int:
    """Where ONNX has the channels of such a tensor."""
    rank = len(tensor.shape)
    return rank - 3 if rank in (4, 5) else rank - 1
