"""The kinds whose contract is the core's: layers, composites and augmentations. Others have theirs where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netspec.contract.augmentation import Augmentation
from netspec.contract.composite import Composite
from netspec.contract.layer import Layer
from netspec.registry.registry import Registry

layers: Registry[Any] = Registry("layers", Layer, "netspec.layers", "layer type")
composites = Registry("composites", Composite, "", "composite", apart=layers)
augmentations = Registry("augmentations", Augmentation, "netspec.data.augment", "augmentation")


def layer_types() -> Mapping[str, type[Any]]:
    """All registered layer types by name; the first call imports the built-in and the installed ones."""
    return layers.types()


def augmentation_types() -> Mapping[str, type[Augmentation]]:
    """All registered augmentations by name, likewise."""
    return augmentations.types()


def composite_types() -> Mapping[str, type[Composite]]:
    """All registered composites by name, likewise; none is built in."""
    return composites.types()
