"""Networks of Caffe: a .prototxt describes one, a .caffemodel has its weights, a .binaryproto the mean image.

Caffe's images are BGR and channels first: weights that read the image, and the mean image, are turned to RGB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from netspec.errors import NetspecError, printable
from netspec.exchange.caffe_net import Net, net_of
from netspec.exchange.caffe_schema import read_binary, read_prototxt
from netspec.exchange.filter_layout import of_conv_transpose
from netspec.exchange.formats import Asked, Read
from netspec.exchange.levels import with_levels
from netspec.planning import build
from netspec.spec import loads
from netspec.spec.types import Spec

Array = np.ndarray[Any, Any]


def read(file: Path, asked: Asked) -> Read:
    """The network of a .prototxt, with the weights that are named beside it. Raises NetspecError."""
    if asked.weights is None:
        raise NetspecError(f"{printable(file)}: a network without its weights; --weights names the .caffemodel")
    net = net_of(file, *read_prototxt(file))
    spec = loads(net.text, f"{file.name} as a spec")
    blobs = _weights(asked.weights)
    arrays, taken = _arrays(asked.weights, spec, net, blobs)
    _to_rgb(file, spec, net, arrays)
    if asked.mean_image is not None:
        arrays[f"{net.image}.mean"] = _mean(asked.mean_image, spec.inputs[net.image].shape)
    left = tuple(f"{name}[{i}]" for name, found in blobs.items() for i in range(len(found)))
    left = tuple(name for name in left if name not in taken.values())
    return Read(with_levels(file, replace(asked, spec=spec), arrays), net.text, taken, left)


def _weights(file: Path) -> dict[str, list[Array]]:
    """Blobs by layer, those without any left out."""
    net = read_binary(file, "NetParameter")
    layers = net.layer or net.layers
    found = {one.name: [_blob(file, one.name, blob) for blob in one.blobs] for one in layers if one.blobs}
    if not found:
        remedy = "of a very old Caffe's, upgrade_net_proto_binary makes one that has"
        raise NetspecError(f"{printable(file)}: no weights there ({remedy})")
    return found


def _blob(file: Path, name: str, blob: Any) -> Array:
    """A blob, of the shape that it says, float32."""
    kind, numbers = ("<f4", blob.data) if blob.data or not blob.double_data else ("<f8", blob.double_data)
    shape = list(blob.shape.dim) if blob.HasField("shape") else [blob.num, blob.channels, blob.height, blob.width]
    if any(size < 0 for size in shape) or prod(shape) * np.dtype(kind).itemsize != len(numbers):
        raise NetspecError(
            f"{printable(file)}: '{printable(name)}': {len(numbers):,} bytes of numbers are no blob of {shape[:8]}"
        )
    return np.frombuffer(numbers, kind).reshape(shape).astype(np.float32, copy=False)


def _arrays(
    file: Path, spec: Spec, net: Net, blobs: Mapping[str, list[Array]]
) -> tuple[dict[str, Array], dict[str, str]]:
    """netspec's arrays by name, and the blob that each is."""
    plan = build(spec, "predict", 1)
    stored = (plan.buffers[key].logical for key in plan.keys("parameter", "state"))
    arrays, taken, problems = {}, {}, []
    for name, shape in {str(one.key): one.shape for one in stored if one is not None}.items():
        layer, _, tensor = name.partition(".")
        there, kind = net.blobs[layer], spec.layer(layer)
        normalises = kind.type == "batch_norm"
        if normalises and tensor in _UNSCALED:
            arrays[name] = np.full(shape, _UNSCALED[tensor], np.float32)
            continue
        place = (("mean", "variance") if normalises else ("weight", "bias")).index(tensor)
        found = _averages(blobs.get(there, [])) if normalises else blobs.get(there, [])
        if place >= len(found):
            problems.append(f"'{printable(there)}' has no {tensor}")
        elif (array := _here(found[place], shape, kind.type, int(kind.attrs.get("groups") or 1))) is None:
            problems.append(f"{tensor} of '{printable(there)}' is {list(found[place].shape)}, {name} {list(shape)}")
        else:
            arrays[name], taken[name] = array, f"{there}[{place}]"
    if problems:
        raise NetspecError(f"{printable(file)}: weights that do not fit the network: {'; '.join(problems[:5])}")
    return arrays, taken


_UNSCALED = {"weight": 1.0, "bias": 0.0}
"""What Caffe leaves to a Scale behind BatchNorm."""


def _averages(blobs: list[Array]) -> list[Array]:
    """Mean and variance of BatchNorm's three blobs: sums, of which the third is the weight."""
    if len(blobs) != 3 or blobs[2].size != 1:
        return []
    weight = float(blobs[2].ravel()[0])
    return [one / weight if weight else np.zeros_like(one) for one in blobs[:2]]


def _here(blob: Array, shape: tuple[int, ...], kind: str, groups: int) -> Array | None:
    """A blob in netspec's layout; None where it is not of that shape. Older files have axes of 1 before a matrix's."""
    if kind == "conv_transpose" and len(shape) == 4:
        channels, filters = shape[2] * groups, shape[3] // groups
        return of_conv_transpose(blob, groups) if blob.shape == (channels, filters, *shape[:2]) else None
    sizes = [size for size in blob.shape if size != 1]
    if len(shape) == 1:
        return blob.reshape(shape) if blob.size == shape[0] and len(sizes) <= 1 else None
    there = (shape[-1], shape[-2], *shape[:-2])
    flat = (there[0], prod(there[1:]))
    if blob.size != prod(shape) or sizes not in ([s for s in there if s != 1], [s for s in flat if s != 1]):
        return None
    return blob.reshape(there).transpose(*range(2, len(there)), 1, 0)


def _to_rgb(file: Path, spec: Spec, net: Net, arrays: dict[str, Array]) -> None:
    """Turn the channels of weights that read the image."""
    if spec.inputs[net.image].shape[-1] != 3:
        return
    for layer in net.readers:
        name = f"{layer}.weight"
        if name not in arrays or arrays[name].ndim < 2 or arrays[name].shape[-2] != 3:
            remedy = "has no weights for all channels that could be turned to RGB"
            raise NetspecError(f"{printable(file)}: '{layer}' reads BGR images and {remedy}")
        arrays[name] = arrays[name][..., ::-1, :]


def _mean(file: Path, shape: tuple[int, ...]) -> Array:
    """The centre of a mean image, as Caffe crops it beside the image."""
    blob = _blob(file, "mean", read_binary(file, "BlobProto"))
    image = blob.reshape(blob.shape[-3:]) if blob.ndim >= 3 and prod(blob.shape[:-3]) == 1 else blob
    height, width, channels = shape
    if image.ndim != 3 or image.shape[0] != channels or image.shape[1] < height or image.shape[2] < width:
        raise NetspecError(f"{printable(file)}: {list(blob.shape)} is no mean image for {height} x {width} pixels")
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    image = image[:, top : top + height, left : left + width].transpose(1, 2, 0)
    return image[..., ::-1] if channels == 3 else image
