"""Whether devices can make the batches of images that they hold: what of a spec stands against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netspec.data.augment import augmentations, unplaced
from netspec.errors import Problem
from netspec.spec.types import Spec

REMEDY = "data.resident: auto leaves the batches to workers then"


def obstacles(spec: Spec, images: Sequence[str]) -> Iterator[Problem]:
    """What keeps devices from making the batches to the bytes that workers make; ``images`` are the inputs with some.

    Whether pictures would be resized and then cut is seen when they are read.
    """
    mark = spec.marks.get("data.resident", spec.mark)
    if len(images) != 1:
        yield Problem(mark, f"'data.resident' needs one image to be read, and the network reads {len(images)}", REMEDY)
    elif len(spec.inputs[images[0]].shape) == 4:
        yield Problem(mark, f"'data.resident' is for single images, and '{images[0]}' takes sequences", REMEDY)
    if (name := unplaced(augmentations(spec.data))) is not None:
        place = spec.marks.get(f"data.augment.{name}", mark)
        yield Problem(place, f"'{name}' is done by workers alone, and 'data.resident' is true", REMEDY)
