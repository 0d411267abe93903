"""Fetching samples: reads the images of some rows of a batch, and writes their crops into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from netspec.contract.augmentation import Augmentation, Frame, View
from netspec.data.augment_chain import Chain
from netspec.data.geometry import Choice, Geometry, Placement, centre
from netspec.data.shuffle import permutation
from netspec.data.source import BrokenImage, Split
from netspec.data.workers.shared_ring import Rows
from netspec.errors import NetspecError
from netspec.machine.limits import cause, is_limit
from netspec.units import many

_MOST_TRIES = 64
"""So many unreadable images in a row are no accident."""


class Task(NamedTuple):
    """Rows ``row`` to ``row + rows`` of a batch in ring slot ``slot``; they show crops ``first``... of the epoch.

    The epoch's crops are all views of the first image of the order, then those of the second ...
    """

    ticket: int
    slot: int
    epoch: int
    first: int
    row: int
    rows: int


@dataclass(slots=True)
class Result:
    """What became of a task: each row's image (-1: none), the broken images met, or why the task failed."""

    ticket: int
    row: int
    images: list[int] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Transform:
    """How images become rows: the crop, and in training the augmentations and the epoch's shuffled order.

    In evaluation each image becomes as many rows as there are ``views``. ``others`` are the crops of further images, by
    network input; a network without images has no ``geometry``.
    """

    geometry: Geometry | None
    training: bool
    seed: int
    augment: Mapping[str, Augmentation]
    views: int = 1
    others: Mapping[str, Geometry] = field(default_factory=dict)


def field_of(name: str) -> str:
    """The field of a batch that has the further images of a network input."""
    return f"image {name}"


class Fetcher:
    """Fetches images of one split through one transform."""

    def __init__(self, split: Split, transform: Transform) -> None:
        self._split, self._transform = split, transform
        self._chain = Chain(transform.augment, transform.seed)
        self._read: dict[str, tuple[Split, Geometry]] = {
            field_of(name): (split.of_input(name), geometry) for name, geometry in transform.others.items()
        }
        if transform.geometry is not None:
            self._read = {"image": (split, transform.geometry), **self._read}
        self._broken: dict[int, str] = {}
        self._epoch, self._order = -1, np.arange(len(split))

    def fetch(self, task: Task, rows: Rows, cancelled: Callable[[], bool] = lambda: False) -> Result:
        """Write the task's rows of each field; a row without an image becomes black, its other values 0.

        In training the row of a broken image shows the next readable one of the epoch's order. ``cancelled`` is asked
        before each image. Raises NetspecError where the machine, and not an image, is at fault.
        """
        result = Result(task.ticket, task.row)
        order, views = self._order_of(task.epoch), self._transform.views
        tries = min(_MOST_TRIES if self._transform.training else 1, len(order))
        while (done := len(result.images)) < task.rows and not cancelled():
            first, view = divmod(task.first + done, views)
            some = {name: values[done : done + views - view] for name, values in rows.items()}
            candidates = (int(order[place % len(order)]) for place in range(first, first + tries))
            shown = next((image for image in candidates if self._show(image, task, view, some, result.broken)), -1)
            if shown < 0:
                for values in some.values():
                    values[...] = 0
                if self._transform.training:
                    result.failure = f"{many(tries, 'image')} in a row cannot be read"
            elif "share" in some:
                self._mix(shown, task, some, result.broken)
            result.images += [shown] * len(some["image"])
        return result

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        if self._transform.training and epoch != self._epoch:
            self._order, self._epoch = permutation(len(self._split), self._transform.seed, epoch), epoch
        return self._order

    def _show(self, image: int, task: Task, view: int, rows: Rows, broken: dict[int, str]) -> bool:
        """Write views of the image from number ``view`` on, one a row; False where it cannot be read."""
        if image not in self._broken:
            reason = self._written(image, task, view, rows)
            if reason is None:
                return True
            self._broken[image] = reason
        broken[image] = self._broken[image]
        return False

    def _mix(self, image: int, task: Task, rows: Rows, broken: dict[int, str]) -> None:
        """Mix the image's partner into its row, with its label and share; one that cannot be read has no share."""
        words = self._chain.draw(task.epoch, image)
        partner = self._chain.partner(words, len(self._split))
        other = {name: np.empty_like(values) for name, values in rows.items()}
        label, share = image, 0.0
        if self._show(partner, task, 0, other, broken):
            label = partner
            for name in self._read:
                share = self._chain.mix(words, rows[name][0], other[name][0])
        rows["other"][0], rows["share"][0] = self._split.labels[label], share

    def _written(self, image: int, task: Task, view: int, rows: Rows) -> str | None:
        """Write the views; the reason where the image cannot be read."""
        from netspec.data.frames import show_content  # Pillow is for the processes that decode

        choices: Sequence[Choice] = views_of(self._transform.views)[view : view + len(rows["image"])]
        if self._transform.training:
            words = self._chain.draw(task.epoch, image)
            choices = [partial(self._chain.view, words)]
        try:
            for name, (split, geometry) in self._read.items():
                show_content(split.read(image), geometry, choices, rows[name])
        except BrokenImage as error:
            return str(error)
        except MemoryError as error:
            raise NetspecError(f"{self._split.name(image)}: {cause(error)}") from error
        except OSError as error:
            if is_limit(error):
                raise NetspecError(f"{self._split.name(image)}: {cause(error)}") from error
            return error.strerror or str(error)
        if self._transform.training:
            for name in self._read:
                beside = {one: values[0] for one, values in rows.items() if one == "tint"}
                self._chain.alter(words, {"image": rows[name][0], **beside})
        return None


def _fixed(place: Placement, mirrored: bool, frame: Frame) -> View:
    return frame.at(*place(*frame.spare), mirrored)


_PLACES: tuple[Placement, ...] = (
    centre,
    lambda rows, columns: (0, 0),
    lambda rows, columns: (0, columns),
    lambda rows, columns: (rows, 0),
    lambda rows, columns: (rows, columns),
)
VIEWS: tuple[Choice, ...] = tuple(partial(_fixed, place, mirror) for mirror in (False, True) for place in _PLACES)
"""The ten views: the centre, the corners, and the mirror images of these five (paper, section 4.1)."""


def views_of(number: int) -> Sequence[Choice]:
    """What an evaluation of 1, 2 or 10 views shows of an image; of two the centre and its mirror image."""
    return VIEWS[:: len(_PLACES)] if number == 2 else VIEWS[:number]
