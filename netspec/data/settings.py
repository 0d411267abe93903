"""The ``data`` section of a spec, as data: read without numpy or PIL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

ViewCount = Literal[1, 2, 10]
"""Crops that an evaluation averages: the centre, that and its mirror image, or the paper's ten (section 4.1)."""
VIEW_COUNTS: tuple[ViewCount, ...] = get_args(ViewCount)


@dataclass(frozen=True, slots=True)
class DataSpec:
    """Where images come from and what is done to them before the network sees them.

    ``source`` holds the source's type and its attributes. ``resize`` is the length of the short side in pixels before
    a square of ``crop`` pixels is cut (random in training, the centre in evaluation); None: the network input's size,
    and no resizing when the images have it already. ``mean`` is subtracted, then ``scale`` multiplied, on the device.

    ``augment`` has the augmentations of training images that are not usual, by name with their attributes: usual is
    ``crop``, None turns it off, and ``mirror`` where that is true. See netspec.data.augment.

    ``split`` is the share of each class that is held out for validation where the source has no validation images, None
    where nothing is said, and 0 for none; ``split_seed`` decides which images. ``classes`` is how many there are, for
    layers that follow it, as long as the images have not been looked at. ``resident``: whether the decoded images stay
    on the devices; auto: where these are GPUs, and the images take a small part of their memory.
    """

    source: Mapping[str, Any] = field(default_factory=lambda: {"type": "generated"})
    resize: int | None = None
    crop: int | None = None
    mirror: bool = False
    augment: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    mean: Literal["image", "channel", "none"] = "image"
    scale: float = 1.0
    views: ViewCount = 1
    split: float | None = None
    split_seed: int = 0
    classes: int | None = None
    workers: int | None = None
    resident: Literal["auto"] | bool = "auto"


@dataclass(frozen=True, slots=True)
class More:
    """What a network reads beside one image and a label, from a source that has an array for each input by name.

    ``image`` names the input of that image; ``images`` has the shapes of further images or sequences, and ``values``
    those of numbers, by input.
    """

    image: str = ""
    images: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
