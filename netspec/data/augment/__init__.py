"""Augmentations by name: each public file of this folder holds one; see netspec.contract.augmentation.

Data workers import this, but load no registry: they are told what is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netspec.contract.augmentation import Augmentation, Mix, Tint
from netspec.data.settings import DataSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["augmentations", "mix_of", "overrides", "tint_of", "tinted", "unplaced", "used"]

DEFAULT = "crop"
"""What is on unless it is turned off, or another one of its group is on."""


def used(data: DataSpec) -> dict[str, Mapping[str, Any]]:
    """The augmentations that training applies, in order, with their attributes."""
    from netspec.registry import augmentation_types

    types = augmentation_types()
    written = {name: attrs for name, attrs in data.augment.items() if attrs is not None}
    cuts = any(types[name].group == types[DEFAULT].group for name in written)
    first: dict[str, Mapping[str, Any]] = {} if cuts or DEFAULT in data.augment else {DEFAULT: {}}
    return {**first, **({"mirror": {}} if data.mirror else {}), **written}


def augmentations(data: DataSpec) -> dict[str, Augmentation]:
    """The same, ready for use."""
    from netspec.registry import augmentation_types

    types = augmentation_types()
    return {name: types[name](attrs) for name, attrs in used(data).items()}


def tint_of(data: DataSpec) -> Tint | None:
    """The augmentation that runs on the device, where there is one."""
    return next((one for one in augmentations(data).values() if isinstance(one, Tint)), None)


def mix_of(data: DataSpec) -> str | None:
    """The name of the augmentation that mixes images, where there is one."""
    return next((name for name, one in augmentations(data).items() if isinstance(one, Mix)), None)


def unplaced(augmentations: Mapping[str, Augmentation]) -> str | None:
    """The first augmentation that workers alone can apply, by name; None where a device can apply all."""
    moved = ""
    for name, one in augmentations.items():
        alters = overrides(one, "pixels")
        shown = alters or overrides(one, "view") or isinstance(one, Mix)
        if (shown and not overrides(one, "place")) or (alters and moved):
            return name
        moved = name if alters else moved
    return None


def overrides(one: Augmentation, method: str) -> bool:
    """Whether an augmentation has a method of its own."""
    return getattr(type(one), method) is not getattr(Augmentation, method)


def tinted(
    images: NDArray[np.uint8], tint: NDArray[np.float32], mean: NDArray[np.float32], components: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What the device makes of images (N, H, W, C), before ``data.scale``: see netspec.ops.prepare.

    ``tint`` is (N, 1 + C), ``mean`` (H, W, C), ``components`` (C, C); float32 (N, H, W, C).
    """
    gain, shift = 1 + tint[:, :1], tint[:, 1:] @ components.T
    return (images - mean) * gain[:, None, None] + shift[:, None, None]
