"""How another program normalises images, as netspec does: a mean to subtract, and one factor for all channels.

(image - mean) / std is a network's input there, with numbers for each channel; (image - mean) * data.scale is here.
What the channels differ by is put into the weights of the layers that read images; zeros of padding stay zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netspec.errors import NetspecError, printable
from netspec.exchange.formats import Asked
from netspec.planning.network import Network, is_image
from netspec.spec.types import LayerSpec, Spec

Array = np.ndarray[Any, Any]


def with_levels(file: Path, asked: Asked, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays with the images' means, and with weights that take images as netspec has them.

    Raises NetspecError where neither the file nor the command line says how images were normalised, and where no
    weights can make up for a ``std``.
    """
    spec, made = asked.spec, dict(arrays)
    assert spec is not None
    images = _images(spec)
    told = asked.mean is not None or asked.std is not None
    for name, shape in images.items():
        if asked.mean is not None or (told and f"{name}.mean" not in made):
            made[f"{name}.mean"] = np.broadcast_to(levels_of(asked, shape[-1])[0], shape)
        elif f"{name}.mean" not in made:
            if spec.data.mean != "none":
                raise NetspecError(_UNSAID.format(file=printable(file), name=name))
            made[f"{name}.mean"] = np.zeros(shape, np.float32)
    if told:
        for channels in {shape[-1] for shape in images.values()}:
            _rescale(spec, images, 1 / (levels_of(asked, channels)[1] * spec.data.scale), made)
    return made


_UNSAID = (
    "{file}: nothing there says how '{name}' was normalised: give --mean and --std in levels from 0 to 255 "
    "(--mean imagenet --std imagenet for torchvision's networks, --mean 0 for images as they are)"
)


def _images(spec: Spec) -> dict[str, tuple[int, ...]]:
    network = Network(spec, "predict", 1)
    parts = {name: network.values[name][""].parts for name in spec.inputs}
    return {name: spec.inputs[name].shape for name, found in parts.items() if found and is_image(found[0].tensor)}


def levels_of(asked: Asked, channels: int) -> tuple[Array, Array]:
    """``--mean`` and ``--std`` of each channel; 0 and 1 where they are not given. Raises NetspecError."""
    mean, std = _levels(asked.mean or (0.0,), channels, "mean"), _levels(asked.std or (1.0,), channels, "std")
    if not (std > 0).all():
        raise NetspecError("--std: images are divided by it; it must be above 0")
    return mean, std


def _levels(numbers: Sequence[float], channels: int, option: str) -> Array:
    if len(numbers) not in (1, channels) or not np.isfinite(numbers).all():
        raise NetspecError(f"--{option}: give one number, or {channels}: one for each channel")
    return np.broadcast_to(np.asarray(numbers, np.float64), (channels,))


def _rescale(spec: Spec, images: Mapping[str, Any], factors: Array, arrays: dict[str, Array]) -> None:
    """Multiply the weights of the layers that read images by a factor for each of their channels."""
    if np.allclose(factors, 1, rtol=1e-6):
        return
    readers, others = _by_owner(spec, images)
    for owner in readers:
        name = f"{owner}.weight"
        if name not in arrays or owner in others or not _is_linear(arrays[name], factors):
            raise NetspecError(
                f"'{owner}' reads images and has no weights by channel of its own that could make up for --std: "
                f"set data.scale to 1 / std (--set data.scale={1 / float(np.mean(1 / factors)):.6g})"
            )
        arrays[name] = arrays[name] * (factors[:, None] if arrays[name].shape[-2] == len(factors) else factors[0])


def _is_linear(weight: Array, factors: Array) -> bool:
    """Whether a weight has the images' channels as its last axis but one, or needs to know nothing of channels."""
    return weight.ndim > 2 and (weight.shape[-2] == len(factors) or bool(np.ptp(factors) == 0))


def _by_owner(spec: Spec, images: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """The layers whose parameters read images, and those whose parameters read anything else."""
    reads: dict[bool, set[str]] = {True: set(), False: set()}
    for layer in spec.layers:
        sources = {_through(spec, one.source) for one in layer.inputs}
        if layer.type not in _PASS:
            for source in sources:
                reads[source in images].add(layer.share or layer.name)
    return reads[True], reads[False]


_PASS = ("select",)
"""Layers that hand on parts of what they read, as they are."""


def _through(spec: Spec, source: str) -> str:
    """The input, or the layer, that a source stands for."""
    layers: Mapping[str, LayerSpec] = {layer.name: layer for layer in spec.layers}
    while source in layers and layers[source].type in _PASS:
        source = layers[source].inputs[0].source
    return source
