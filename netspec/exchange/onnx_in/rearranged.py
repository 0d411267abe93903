"""Values whose elements lie in another order than a tensor's: layers that ``permute`` axes or ``slice`` channels."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from math import prod

import numpy as np

from netspec.exchange.onnx_in.graph_file import Refused
from netspec.exchange.onnx_in.net import Net
from netspec.exchange.onnx_in.views import Places, Value


def rearranged(net: Net, x: Value) -> Value:
    """The value as a layer's output, whose elements lie as the tensor's. Raises Refused where no layer does that."""
    x = net.whole(net.settled(x))
    if x.places is None:
        return x
    plain = replace(x, places=None)
    lying = np.moveaxis(x.places, -3, -1) if x.places.ndim in (3, 4) else x.places
    if (order := _order(lying, x.example)) is not None:
        return net.add("permute", {"order": [axis + 1 for axis in order]}, plain)
    if (first := _first(lying, x.example)) is not None:
        attrs = {"first": first, "count": lying.shape[-1]} if first else {"count": lying.shape[-1]}
        return net.add("slice", attrs, plain)
    raise Refused("its numbers are in another order than a layer here gives them")


def as_image(net: Net, x: Value) -> Value:
    """The same where that is an image, else the value as it is."""
    if len(x.shape) != 4 or (x.is_image and x.part is None):
        return x
    with suppress(Refused):
        return rearranged(net, x)
    return x


def _order(lying: Places, example: tuple[int, ...]) -> tuple[int, ...] | None:
    """In which order the axes of an example are; None where it is another arrangement."""
    if lying.ndim != len(example) or lying.size != prod(example) or not 1 < lying.ndim < 5:
        return None
    usual = np.arange(lying.size).reshape(example)
    return next(
        (order for order in permutations(range(len(example))) if np.array_equal(usual.transpose(order), lying)), None
    )


def _first(lying: Places, example: tuple[int, ...]) -> int | None:
    """The first of neighbouring channels that are all there is; None where it is another arrangement."""
    if lying.ndim != len(example) or lying.shape[:-1] != example[:-1] or not lying.size:
        return None
    first, count = int(lying.flat[0]), lying.shape[-1]
    taken = np.arange(prod(example)).reshape(example)[..., first : first + count]
    return first if np.array_equal(taken, lying) else None
