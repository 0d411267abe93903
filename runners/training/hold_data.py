"""Which data sets stay on the devices, and their decoded images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from netspec.data.dataset import Dataset
from netspec.data.resident import Held, ResizedError, held_shape, hold
from netspec.data.source import Split
from netspec.device.binding import parsed, place
from netspec.device.gpus import free_memory
from netspec.errors import Problem, SpecError
from netspec.machine.environment import host_memory
from netspec.machine.ranks import launched
from netspec.planning.residency import obstacles
from netspec.planning.trainable import inputs_read, roles
from netspec.spec.types import Spec
from netspec.units import many, size

SHARE = 4
"""By itself a data set stays on GPUs where it takes at most one part in so many of their free memory and the host's."""


def held_images(
    spec: Spec, source: Dataset, workers: int | None, note: Callable[[str], None], names: Sequence[str] | None
) -> Held | None:
    """The images of both splits, decoded, where they are to stay on the devices bound by ``names``; else None.

    Of several processes each would decide for itself, by the memory that is free: there they stay where the spec says
    so. Raises SpecError where ``data.resident`` is true and images would be resized before they are cut, NetspecError
    where images cannot be read.
    """
    bound = place(spec.devices, names).names
    if spec.data.resident is not True and not (spec.data.resident and _by_itself(spec, source, bound)):
        return None
    read = inputs_read(spec)
    try:
        held = hold(_splits(source), spec.data, read.shape, workers, read.more)
    except ResizedError as error:
        if spec.data.resident is True:
            message = f"{error} before it is cut, which a device does not do to the same bytes"
            mark = spec.marks.get("data.resident", spec.mark)
            remedy = "prepare them at that size (netspec data prepare), or leave 'data.resident' out"
            raise SpecError([Problem(mark, message, remedy)]) from error
        note(f"data: workers make the batches: {error}")
        return None
    where = ", ".join(dict.fromkeys(bound))
    note(f"data: {many(len(held.images), 'image')}, {size(held.images.nbytes)}, stay on {where}")
    return held


def _splits(source: Dataset) -> list[Split]:
    return [source.train, *([source.val] if source.val else [])]


def _by_itself(spec: Spec, source: Dataset, bound: Sequence[str]) -> bool:
    """Whether the images are to stay on the devices although nothing is said: where each is shown again and again."""
    shown = min(spec.train.epochs * len(source.train), (spec.train.iterations or 2**63) * spec.train.batch)
    are_cards = {parsed(name)[0] for name in bound} == {"cuda"}
    is_alone = launched().of == 1
    if shown < 2 * len(source.train) or not (are_cards and is_alone) or any(obstacles(spec, roles(spec).images)):
        return False
    nbytes = prod(held_shape(spec.data, inputs_read(spec).shape, sum(map(len, _splits(source)))))
    if SHARE * nbytes > (host_memory() or 0):
        return False
    return all(SHARE * nbytes * bound.count(name) <= free_memory(parsed(name)[1]) for name in set(bound))
