"""Features: a layer's activations for a set of images, computed by the part of the network that leads to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from netspec.data.source import Split
from netspec.errors import NetspecError
from netspec.evaluation.feature_set import Features
from netspec.evaluation.features_file import writing
from netspec.events import Listener, Note
from netspec.planning import build
from netspec.runners.streaming import Asked, Indices, Rows, Streamed, Take, open_all, open_images, stream
from netspec.runners.trained import Trained, nobody
from netspec.runners.training.nonfinite import NotFinite
from netspec.spec.types import Connection, LayerSpec, Multiplier, Spec
from netspec.spec.wording import meant

_GATHER = "concat"
"""The layer type that joins the parts of a layer, which may lie on several devices."""


def compute_features(path: Path, layer: str | None, asked: Asked, listener: Listener | None) -> Features:
    """See ``netspec.api.features``."""
    extraction = _Extraction(path, layer, asked, listener)
    found: list[tuple[Indices, Rows]] = []
    extraction.run(lambda indices, rows: found.append((indices, rows)))
    index, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    images, classes = extraction.images, extraction.network.record.classes
    names = tuple(images.name(int(place)) for place in index)
    return Features(values, index, names, images.labels[index], classes, extraction.layer)


class Written(NamedTuple):
    """What is in a file: the layer that was read, how many images, and the shape of each one's features."""

    layer: str
    images: int
    shape: tuple[int, ...]


def write_features(path: Path, out: Path, layer: str | None, asked: Asked, listener: Listener | None) -> Written:
    """The same into a file, in memory that does not grow with the set."""
    extraction = _Extraction(path, layer, asked, listener)
    images, classes, shape = extraction.images, extraction.network.record.classes, list[int]()
    with writing(out, extraction.layer, images.labels, classes, images.name) as add:

        def take(indices: Indices, rows: Rows) -> None:
            shape[:] = rows.shape[1:]
            add(indices, rows)

        done = extraction.run(take)
    return Written(extraction.layer, done.images, tuple(shape))


class _Extraction:
    """A network cut off at a layer, and the images that it is to see."""

    def __init__(self, path: Path, layer: str | None, asked: Asked, listener: Listener | None) -> None:
        self._asked, self._emit = asked, listener or nobody
        (self.network,) = open_all([path], asked, self._emit)
        connections = named_layer(self.network, layer) if layer else last_hidden(self.network)
        self._spec = cut_off(self.network.spec, connections)
        self.layer = ", ".join(".".join(filter(None, (one.source, one.output))) for one in connections)
        self.images: Split = open_images(self.network, asked, self._emit)

    def run(self, take: Take) -> Streamed:
        """Forward the images."""
        try:
            done = stream(self.network, self.images, 1, self._asked, self._emit, take, self._spec)
        except NotFinite as error:
            raise NotFinite(f"{self.network.file}: {error}") from error
        for name, why in done.broken:
            self._emit(Note(f"left out: {name}: {why}"))
        return done


def named_layer(network: Trained, name: str) -> tuple[Connection, ...]:
    """The output of the layer of that name, whole. Raises NetspecError where there is none."""
    names = [layer.name for layer in network.spec.layers]
    if name not in names:
        known = meant(name, names)
        raise NetspecError(f"{network.path}: the network has no layer '{name}'{f' ({known})' if known else ''}")
    return (Connection(name, None, "all", network.spec.mark),)


def last_hidden(network: Trained) -> tuple[Connection, ...]:
    """What the last layer with parameters before the network's answer reads: in AlexNet 4096 numbers, of both devices.

    Raises NetspecError where that is the image itself.
    """
    spec, plan = network.spec, build(network.spec, "predict", 1)
    with_parameters = {shard.layer for shard in plan.shards if shard.params}
    place = plan.answer.of.layer if plan.answer else spec.layers[-1].name
    while place in {layer.name for layer in spec.layers}:
        layer = spec.layer(place)
        if layer.name in with_parameters or layer.share:
            break
        place = layer.inputs[0].source
    else:
        raise NetspecError(f"{network.path}: no layer before the answer has parameters; name the layer to read")
    if any(one.source in spec.inputs for one in layer.inputs):
        message = f"'{layer.name}' reads the image itself: there is no hidden layer; name the layer to read"
        raise NetspecError(f"{network.path}: {message}")
    return tuple(replace(one, connect="all") for one in layer.inputs)


def cut_off(spec: Spec, connections: tuple[Connection, ...]) -> Spec:
    """The network as far as these outputs, which a last layer on the first device joins along their channels."""
    needed = _before(spec, [one.source for one in connections])
    name = _free("features", [*spec.inputs, *needed])
    joined = LayerSpec(
        name=name,
        type=_GATHER,
        devices=spec.devices[:1],
        split="channels",
        inputs=connections,
        attrs={"groups": None},
        share=None,
        multiplier=Multiplier(),
        param_multipliers={},
        mark=spec.mark,
    )
    return replace(spec, layers=(*(layer for layer in spec.layers if layer.name in needed), joined))


def _before(spec: Spec, names: Iterable[str]) -> set[str]:
    """These layers and all that they are made of; a layer that shares parameters needs their owner."""
    needed, left = set[str](), list(names)
    while left:
        name = left.pop()
        if name not in needed and name not in spec.inputs:
            layer = spec.layer(name)
            needed.add(name)
            left += [one.source for one in layer.inputs] + ([layer.share] if layer.share else [])
    return needed


def _free(name: str, taken: list[str]) -> str:
    while name in taken:
        name += "_"
    return name
