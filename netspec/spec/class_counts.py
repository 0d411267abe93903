"""``units: classes``: layers with as many outputs as the data has classes.

A Spec holds numbers in any case: the count that the spec itself states, until the images have been looked at.
"""

from __future__ import annotations

from dataclasses import replace

from netspec.contract.attrs import Attr
from netspec.data.known_sources import source_types
from netspec.data.settings import DataSpec
from netspec.registry import layer_types
from netspec.spec.types import LayerSpec, Spec

WORD = "classes"
ASSUMED = 1000
"""How many there are where nothing says it before the images are looked at: those of ILSVRC."""


def may_follow(schema: Attr) -> bool:
    """Whether an attribute may be as many as there are classes: see netspec.contract.attrs.channels."""
    return schema.get("x-netspec") == "channels"


def stated_count(data: DataSpec) -> int | None:
    """How many classes a source draws, or the spec says; None where only the images can tell."""
    cls = source_types().get(str(data.source.get("type")))
    whole = cls is not None and cls.attrs.keys() <= data.source.keys()  # what is wrong was told, and is not there
    counts = cls.counts(data.source) if cls is not None and whole else None
    return counts[2] if counts else data.classes


def counted(layer: LayerSpec, classes: int) -> LayerSpec:
    """A layer with a number in place of each ``classes``."""
    if layer.type not in layer_types():
        return layer
    schemas = layer_types()[layer.type].attrs
    words = tuple(key for key, value in layer.attrs.items() if value == WORD and may_follow(schemas[key]))
    return replace(layer, attrs={**layer.attrs, **dict.fromkeys(words, classes)}, of_classes=words) if words else layer


def following(spec: Spec) -> list[str]:
    """The attributes that follow the data, as ``fc8.units``."""
    return [f"{layer.name}.{key}" for layer in spec.layers for key in layer.of_classes]


def assumed(spec: Spec) -> list[str]:
    """A line where layers follow a number of classes that nothing says yet."""
    places = following(spec)
    if not places or stated_count(spec.data) is not None:
        return []
    return [f"{', '.join(places)}: {ASSUMED:,} until the images are looked at; data.classes says how many there are"]


def settled(spec: Spec, classes: int | None = None) -> Spec:
    """The spec with that many classes, from now on as numbers of its own; None: as many as it states."""
    return replace(spec, layers=tuple(_settled(layer, classes) for layer in spec.layers))


def _settled(layer: LayerSpec, classes: int | None) -> LayerSpec:
    numbers = dict.fromkeys(layer.of_classes, classes) if classes is not None else {}
    return replace(layer, attrs={**layer.attrs, **numbers}, of_classes=()) if layer.of_classes else layer
