"""Values of an ONNX graph as netspec has them: a tensor, and where in it each element of the value lies.

So what only moves elements (Transpose, Reshape, Flatten, Squeeze, Slice, Split, Gather) is no layer, but numpy on an
array of places; a layer that reads the value takes its weights in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from netspec.contract.tensor import Tensor
from netspec.exchange.onnx_in.graph_file import MOST_ELEMENTS, Array, Refused

Places = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Step:
    """A layer that is not written yet: its type, attributes and arrays, and the constants that these are from."""

    type: str
    attrs: Mapping[str, Any]
    arrays: Mapping[str, Array]
    taken: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """Channels of an image apart from the others: part ``index`` of ``count``, after some layers of its own."""

    whole: Value
    index: int
    count: int
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Value:
    """A value: the layer or input that makes it, its tensor there, its shape in ONNX, batch first in both.

    ``places`` has for each element of an example where it lies in the tensor's example, flat; None: images are channels
    first, (N, C, H, W) or (N, F, C, H, W), and all else is as it is. ``factor`` is what each channel is still to be
    multiplied by, ``pad`` are zeros still to be put round the image (top, bottom, left, right); a convolution
    takes both into itself, before anything else they are layers.
    """

    source: str
    tensor: Tensor
    shape: tuple[int, ...]
    places: Places | None = None
    factor: Array | None = None
    pad: tuple[int, int, int, int] | None = None
    part: Part | None = field(default=None, repr=False)

    @property
    def example(self) -> tuple[int, ...]:
        """The tensor's shape without its batch."""
        return self.tensor.shape[1:]

    @property
    def is_image(self) -> bool:
        """Whether it is an image, channels first."""
        return len(self.tensor.shape) == 4 and self.places is None

    def located(self) -> Places:
        """``places``, always an array. Raises Refused where that would be too large."""
        return usual_places(self.tensor) if self.places is None else self.places


def value_of(source: str, tensor: Tensor) -> Value:
    """A layer's output as ONNX has it."""
    return Value(source, tensor, usual_shape(tensor))


def usual_shape(tensor: Tensor) -> tuple[int, ...]:
    """Channels first for images and sequences of them."""
    shape = list(tensor.shape)
    if len(shape) in (4, 5):
        shape.insert(-2, shape.pop())
    return tuple(shape)


def usual_places(tensor: Tensor) -> Places:
    """Where the elements of such a value lie."""
    example = tensor.shape[1:]
    if prod(example) > MOST_ELEMENTS:
        raise Refused(f"a tensor of {prod(example):,} elements would have to be taken apart")
    places = np.arange(prod(example)).reshape(example)
    return np.moveaxis(places, -1, -3) if len(example) in (3, 4) else places


def moved(value: Value, move: Callable[[Places], Places]) -> Value:
    """The value after something that moves elements within each example. Raises Refused where examples would mix."""
    batch, one, count = value.shape[0], value.located(), prod(value.example)
    if batch * one.size > MOST_ELEMENTS:
        raise Refused(f"a tensor of {batch * one.size:,} elements would have to be taken apart")
    offsets = np.arange(batch).reshape(-1, *(1,) * one.ndim) * count
    try:
        after = move(one + offsets)
    except (ValueError, IndexError, TypeError, OverflowError, np.exceptions.AxisError) as error:
        raise Refused(f"it does not fit its input of shape {value.shape}: {error}") from None
    if not after.size:
        raise Refused("nothing is left of its input")
    if not after.ndim or after.shape[0] != batch:
        raise Refused(f"it mixes the examples of a batch: {value.shape} becomes {after.shape}")
    apart = np.arange(batch).reshape(-1, *(1,) * (after.ndim - 1)) * count
    if (after - apart != after[:1]).any():
        raise Refused("it mixes the examples of a batch")
    return replace(value, shape=after.shape, places=_unless_usual(after[0], value.tensor))


def _unless_usual(places: Places, tensor: Tensor) -> Places | None:
    usual = usual_shape(tensor)[1:]
    return None if places.shape == usual and np.array_equal(places, usual_places(tensor)) else places


def located(source: str, tensor: Tensor, shape: tuple[int, ...], places: Places) -> Value:
    """A value by its places."""
    return Value(source, tensor, shape, _unless_usual(places, tensor))


def laid_out(value: Value, constant: Array) -> Array:
    """A constant that is combined with the value element by element, in the tensor's own layout, for one example.

    Raises Refused where it differs between the examples of a batch, or the value is only a part of the tensor.
    """
    try:
        whole = np.broadcast_to(constant, value.shape)
    except ValueError:
        raise Refused(f"its constant of shape {constant.shape} does not fit {value.shape}") from None
    if np.ndim(constant) == len(value.shape) and constant.shape[0] not in (1,) and len(value.shape) > 0:
        if (constant != constant[:1]).any():
            raise Refused("its constant differs between the examples of a batch")
    places = value.located()
    if places.size != prod(value.example) or len(np.unique(places)) != places.size:
        raise Refused("it changes a part of a tensor")
    result = np.empty(places.size, np.float64)
    result[places.ravel()] = whole[0].ravel()
    return result.reshape(value.example)
