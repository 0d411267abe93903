"""Operators over windows of images: convolution, pooling, normalisation, and the padding before them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from netspec.exchange.filter_layout import of_conv_transpose
from netspec.exchange.onnx_in.graph_file import Array, Node, Refused
from netspec.exchange.onnx_in.net import Net
from netspec.exchange.onnx_in.node_operands import Operand, Operator, constant, numbers, value, written
from netspec.exchange.onnx_in.products import dense, grouped_rows, with_bias
from netspec.exchange.onnx_in.rearranged import rearranged
from netspec.exchange.onnx_in.views import Part, Value, moved, usual_places


def image(net: Net, x: Operand) -> Value:
    """An image, channels first; one of several slices is taken by a layer, some of the channels are a part."""
    found = value(x)
    if found.is_image:
        return found
    example, places = found.example, found.located()
    if len(found.shape) == 4 and len(example) in (3, 4) and places.size:
        if (sliced := _slice(net, found)) is not None:
            return sliced
        if len(example) == 3 and (part := part_of(found)) is not None:
            return part
        if len(example) == 3:
            with suppress(Refused):
                return rearranged(net, found)
    raise Refused(f"what it reads, of shape {found.shape}, is no image as layers here have them")


def _slice(net: Net, found: Value) -> Value | None:
    """One image of a sequence, where it is that."""
    if len(found.example) != 4:
        return None
    rest = replace(found.tensor, shape=(found.shape[0], *found.example[1:]))
    index = int(found.located().min()) // prod(found.example[1:])
    if not np.array_equal(found.located(), usual_places(rest) + index * prod(found.example[1:])):
        return None
    return net.add("select", {"index": index}, replace(found, places=None))


def part_of(found: Value) -> Value | None:
    """Some neighbouring channels of an image, of which the others are as many or a multiple."""
    if len(found.example) != 3 or len(found.shape) != 4:
        return None
    height, width, channels = found.example
    first, taken = int(found.located().flat[0]), found.shape[1]
    outstanding = found.part is not None or found.factor is not None or found.pad is not None
    if outstanding or found.shape[2:] != (height, width) or channels % taken or first % taken:
        return None
    if not np.array_equal(found.located(), usual_places(found.tensor)[first : first + taken]):
        return None
    whole = replace(found, places=None, shape=(found.shape[0], channels, height, width))
    tensor = replace(found.tensor, shape=(*found.tensor.shape[:-1], taken))
    return replace(found, tensor=tensor, places=None, part=Part(whole, first // taken, channels // taken))


def apart(x: Value) -> Value:
    """Some channels of an image as a part; all else as it is."""
    return x if x.places is None else part_of(x) or x


def windows(node: Node, x: Value, size: tuple[int, ...]) -> dict[str, Any]:
    """Size, stride, padding and dilation as attributes, along as many axes as ``size`` has."""
    axes = len(size)
    stride, dilation = node.ints("strides", axes, 1), node.ints("dilations", axes, 1)
    reach = tuple((one - 1) * apart + 1 for one, apart in zip(size, dilation, strict=True))
    pads = _pads(node, x, reach, stride)
    sides = [one for pair in zip(pads[:axes], pads[axes:], strict=True) for one in pair]
    if x.pad is not None:
        sides = [a + b for a, b in zip(sides, x.pad, strict=True)]
    attrs: dict[str, Any] = {"size": short(size)}
    if set(stride) != {1}:
        attrs["stride"] = short(stride)
    attrs |= _sides(*sides)
    return attrs if set(dilation) == {1} else {**attrs, "dilation": short(dilation)}


def _sides(*sides: int) -> dict[str, Any]:
    """Padding before and behind each axis as an attribute, where there is any: top, bottom, left, right."""
    even = short(sides[::2]) if sides[::2] == sides[1::2] else list(sides)
    return {"pad": even} if any(sides) else {}


def short(sizes: tuple[int, ...]) -> int | list[int]:
    """One number where all are the same."""
    return sizes[0] if len(set(sizes)) == 1 else list(sizes)


def _pads(node: Node, x: Value, size: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    """Padding before each axis, then behind each: (top, left, bottom, right); as ``auto_pad`` says or ``pads``."""
    auto, count = node.get("auto_pad", "NOTSET"), 2 * len(size)
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        return node.ints("pads", count, 0) if auto == "NOTSET" else (0,) * count
    before, after = [], []
    for length, one, step in zip(x.shape[2:], size, stride, strict=True):
        total = max((-(-length // step) - 1) * step + one - length, 0)
        low, high = total // 2, total - total // 2
        before.append(low if auto == "SAME_UPPER" else high)
        after.append(high if auto == "SAME_UPPER" else low)
    return (*before, *after)


def conv(net: Net, node: Node, x: Operand, weight: Operand, bias: Operand = None) -> Value:
    """Conv: filters first become filters last."""
    kernels, groups = numbers(weight), node.get("group", 1)
    found = value(x)
    if kernels.ndim != 4 or len(found.shape) != 4:
        raise Refused(f"convolutions here are over images, and its weights have the shape {kernels.shape}")
    if groups < 1 or kernels.shape[0] % groups or kernels.shape[1] * groups != found.shape[1]:
        raise Refused(f"weights of shape {kernels.shape} in {groups} groups do not fit an input of {found.shape}")
    whole = kernels.shape[1:] == found.shape[1:] and not any(node.ints("pads", 4, 0))
    if not found.is_image and groups == 1 and whole:
        made = dense(net, found, kernels.reshape(kernels.shape[0], -1).T, bias, node)
        return moved(made, lambda places: places.reshape(*places.shape, 1, 1))
    if not found.is_image and found.shape[2:] == (1, 1) and kernels.shape[2:] == (1, 1) and len(found.example) == 1:
        return grouped_rows(net, node, found, kernels, bias, groups)
    found = image(net, found)
    if found.factor is not None:
        shares = found.factor.reshape(groups, kernels.shape[1]).repeat(kernels.shape[0] // groups, axis=0)
        kernels = kernels * shares[:, :, None, None]
    return convolved(net, node, replace(found, factor=None), kernels, bias, "conv")


def convolved(net: Net, node: Node, x: Value, kernels: Array, bias: Operand, layer: str) -> Value:
    """A layer of that type whose filters, in ONNX (filters, channels of a group, *size), are these."""
    filters, channels, *size = kernels.shape
    attrs: dict[str, Any] = {"filters": filters, **windows(node, x, tuple(size))}
    if (groups := x.shape[1] // channels) > 1:
        attrs["groups"] = groups
    arrays, taken = {"weight": np.moveaxis(kernels, (0, 1), (-1, -2))}, {"weight": node.inputs[1]}
    with_bias(attrs, arrays, taken, bias, filters, node)
    return net.add(layer, attrs, replace(x, pad=None), arrays=arrays, taken=taken)


def conv_transpose(net: Net, node: Node, x: Operand, weight: Operand, bias: Operand = None) -> Value:
    """ConvTranspose: channels first become filters last."""
    kernels, groups = numbers(weight), node.get("group", 1)
    found = net.padded(image(net, x))
    if kernels.ndim != 4 or groups < 1 or kernels.shape[0] != found.shape[1] or kernels.shape[0] % groups:
        raise Refused(f"weights of shape {kernels.shape} in {groups} groups do not fit an input of {found.shape}")
    filters = kernels.shape[1] * groups
    attrs: dict[str, Any] = {"filters": filters, **_transposed_windows(node, found, kernels.shape[2:])}
    if groups > 1:
        attrs["groups"] = groups
    if found.factor is not None:
        kernels = kernels * np.broadcast_to(found.factor, kernels.shape[:1])[:, None, None, None]
    arrays, taken = {"weight": of_conv_transpose(kernels, groups)}, {"weight": node.inputs[1]}
    with_bias(attrs, arrays, taken, bias, filters, node)
    return net.add("conv_transpose", attrs, replace(found, factor=None), arrays=arrays, taken=taken)


def _transposed_windows(node: Node, x: Value, size: tuple[int, ...]) -> dict[str, Any]:
    """Size, stride, padding, dilation and rows besides, as attributes; an ``output_shape`` says what is padded."""
    stride, apart, extra = (
        node.ints(name, 2, least) for name, least in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    auto, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape", [])
    if wanted or auto in ("SAME_UPPER", "SAME_LOWER"):
        given = node.ints("output_shape", 2, 1) if wanted else [a * b for a, b in zip(x.shape[2:], stride, strict=True)]
        sides = []
        for axis, length in enumerate(given):
            whole = (x.shape[2 + axis] - 1) * stride[axis] + (size[axis] - 1) * apart[axis] + 1
            low, rest = divmod(max(0, whole + extra[axis] - length), 2)
            sides.append((low, low + rest) if auto == "SAME_UPPER" else (low + rest, low))
            extra = (*extra[:axis], length - whole + sum(sides[axis]), *extra[axis + 1 :])
        (top, bottom), (left, right) = sides
    else:
        top, left, bottom, right = node.ints("pads", 4, 0) if auto == "NOTSET" else (0, 0, 0, 0)
    attrs: dict[str, Any] = {"size": short(size)}
    pairs = {"stride": (stride, (1, 1)), "output_pad": (extra, (0, 0)), "dilation": (apart, (1, 1))}
    attrs |= {name: short(pair) for name, (pair, usual) in pairs.items() if tuple(pair) != usual}
    return attrs | _sides(top, bottom, left, right)


def max_pool(net: Net, node: Node, x: Operand) -> Value:
    """MaxPool."""
    return _pool(net, node, x, "max")


def average_pool(net: Net, node: Node, x: Operand) -> Value:
    """AveragePool."""
    return _pool(net, node, x, "average")


def _pool(net: Net, node: Node, x: Operand, mode: str) -> Value:
    return pooled(net, node, image(net, value(x)), mode, "pool")


def pooled(net: Net, node: Node, x: Value, mode: str, layer: str) -> Value:
    """A pooling layer of that type."""
    attrs = {"mode": mode, **windows(node, x, node.ints("kernel_shape", len(x.shape) - 2, 1))}
    if node.get("ceil_mode", 0):
        attrs["rounding"] = "ceil"
    if mode == "average" and node.get("count_include_pad", 0) and "pad" in attrs:
        attrs["count_include_pad"] = True
    return net.add(layer, attrs, x)


def global_pool(mode: str) -> Operator:
    """GlobalMaxPool, GlobalAveragePool: one window."""

    def pool(net: Net, node: Node, x: Operand) -> Value:
        found = image(net, x)
        return net.add("pool", {"mode": mode, "size": "image"}, found)

    return pool


def reduce_mean(net: Net, node: Node, x: Operand, axes: Operand = None) -> Value:
    """The mean over height and width."""
    over = node.get("axes", []) if axes is None else constant(axes).ravel().tolist()
    found = image(net, x)
    if sorted(axis % 4 for axis in over if isinstance(axis, int)) != [2, 3] or len(over) != 2:
        raise Refused(f"it takes means over the axes {over}: of images, those over height and width are understood")
    made = global_pool("average")(net, node, found)
    assert isinstance(made, Value)
    return made if node.get("keepdims", 1) else moved(made, lambda places: places[:, :, 0, 0])


def lrn(net: Net, node: Node, x: Operand) -> Value:
    """LRN, whose alpha is divided by the size; even windows lie elsewhere than here."""
    size, found = node.get("size", 0), value(x)
    if size < 1 or not size % 2:
        raise Refused(f"its window has {size} channels: odd windows are understood")
    attrs: dict[str, Any] = {"size": size, "scaling": "window"}
    for key, name, usual in (("alpha", "alpha", 1e-4), ("beta", "beta", 0.75), ("k", "bias", 1.0)):
        attrs[key] = written(node.get(name, usual))
    if len(found.shape) != 2 or found.places is not None:
        found = image(net, found)
    return net.add("lrn", attrs, found)


def pad(net: Net, node: Node, x: Operand, pads: Operand = None, fill: Operand = None, axes: Operand = None) -> Value:
    """Pad of height and width by a constant: a layer, or zeros that the convolution behind it takes on."""
    found = value(x)
    sides = node.get("pads", []) if pads is None else constant(pads).ravel().tolist()
    filled = node.get("value", 0.0) if fill is None else float(constant(fill).ravel()[0])
    fits = len(sides) == 8 and not any(sides[i] for i in (0, 1, 4, 5)) and all(abs(int(one)) < 2**31 for one in sides)
    if axes is not None or node.get("mode", "constant") != "constant" or not fits or not np.isfinite(filled):
        raise Refused("it pads by other than a constant round an image")
    plain = image(net, found)
    top, left, bottom, right = sides[2], sides[3], sides[6], sides[7]
    if filled or min(sides) < 0:
        given = {"top": top, "bottom": bottom, "left": left, "right": right, "value": written(filled)}
        return net.add("pad", {key: one for key, one in given.items() if one}, plain)
    shape = (*plain.shape[:2], plain.shape[2] + top + bottom, plain.shape[3] + left + right)
    return replace(plain, shape=shape, pad=(top, bottom, left, right)) if any(sides) else plain


def resize(
    net: Net, node: Node, x: Operand, roi: Operand = None, scales: Operand = None, sizes: Operand = None
) -> Value:
    """Resize by whole factors to the nearest pixel."""
    found = image(net, x)
    if scales is not None and constant(scales).size:
        factors = numbers(scales).ravel().tolist()
    elif sizes is not None:
        factors = [one / size for one, size in zip(constant(sizes).ravel().tolist(), found.shape, strict=False)]
    else:
        raise Refused("it says neither scales nor sizes")
    how = (node.get("coordinate_transformation_mode", "half_pixel"), node.get("nearest_mode", "round_prefer_floor"))
    whole = len(factors) == 4 and factors[:2] == [1, 1] and all(one >= 1 and one == int(one) for one in factors)
    if node.get("mode", "nearest") != "nearest" or how not in _REPEATS or not whole or "axes" in node.attributes:
        raise Refused("it does other than repeat each pixel: nearest, by whole factors, is understood")
    return net.add("upsample", {"factor": short(tuple(map(int, factors[2:])))}, found)


_REPEATS = (
    ("asymmetric", "floor"),
    *((mode, f"round_prefer_{way}") for mode in ("half_pixel", "pytorch_half_pixel") for way in ("floor", "ceil")),
)
"""Where a pixel is looked for, and how its place is rounded, so that whole factors repeat each pixel as often."""
