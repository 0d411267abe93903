"""What a worker does: read the images of a block of a batch's rows and write their crops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from netspec.data.decode import Geometry, Place, centre, crop_image
from netspec.data.shuffle import below, draws, permutation
from netspec.data.source import BrokenImage, Split

_MOST_TRIES = 64
"""So many unreadable images in a row are no accident."""


class Task(NamedTuple):
    """Rows ``row`` to ``row + rows`` of a batch in ring slot ``slot``; they show places ``first``... of the order."""

    ticket: int
    slot: int
    epoch: int
    view: int
    first: int
    row: int
    rows: int


@dataclass(slots=True)
class Done:
    """What became of a task: each row's image (-1: none), the broken images met, or why the task failed."""

    ticket: int
    row: int
    images: list[int] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How images become rows: geometry, and in training random crops, perhaps mirrored, in the epoch's random order."""

    geometry: Geometry
    training: bool
    mirror: bool
    seed: int


class Reader:
    """Reads the images of one split by one recipe."""

    def __init__(self, split: Split, recipe: Recipe) -> None:
        self._split, self._recipe = split, recipe
        self._broken: dict[int, str] = {}
        self._epoch, self._order = -1, np.arange(len(split))

    def fill(self, task: Task, rows: NDArray[np.uint8], void: Callable[[], bool] = lambda: False) -> Done:
        """Write the task's rows, uint8 (rows, height, width, channels); a row without an image becomes black.

        In training the row of a broken image shows the next readable one of the epoch's order. Before each image
        ``void`` says whether the rest is no longer wanted.
        """
        done = Done(task.ticket, task.row)
        order = self._order_of(task.epoch)
        tries = _MOST_TRIES if self._recipe.training else 1
        for i in range(task.rows):
            if void():
                break
            places = (task.first + i + step for step in range(min(tries, len(order))))
            candidates = (int(order[place % len(order)]) for place in places)
            shown = next((image for image in candidates if self._show(image, task, rows[i], done.broken)), -1)
            if shown < 0:
                rows[i] = 0
                if self._recipe.training:
                    done.failure = f"{min(tries, len(order))} images in a row cannot be read"
            done.images.append(shown)
        return done

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        if self._recipe.training and epoch != self._epoch:
            self._order, self._epoch = permutation(len(self._split), self._recipe.seed, epoch), epoch
        return self._order

    def _show(self, image: int, task: Task, row: NDArray[np.uint8], broken: dict[int, str]) -> bool:
        if image not in self._broken:
            reason = self._crop(image, task, row)
            if reason is None:
                return True
            self._broken[image] = reason
        broken[image] = self._broken[image]
        return False

    def _crop(self, image: int, task: Task, row: NDArray[np.uint8]) -> str | None:
        recipe = self._recipe
        place, mirror = _VIEWS[task.view % 5], task.view >= 5
        if recipe.training:
            words = draws(recipe.seed, task.epoch, image, 3)
            place, mirror = partial(_random_place, words), recipe.mirror and bool(words[2] >> 63)
        try:
            crop_image(self._split.read(image), recipe.geometry, place, mirror, row)
        except BrokenImage as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)
        return None


def _random_place(words: list[int], rows: int, columns: int) -> tuple[int, int]:
    return below(words[0], rows + 1), below(words[1], columns + 1)


_VIEWS: tuple[Place, ...] = (
    centre,
    lambda rows, columns: (0, 0),
    lambda rows, columns: (0, columns),
    lambda rows, columns: (rows, 0),
    lambda rows, columns: (rows, columns),
)
"""The places of the ten views, the centre first and then the corners; views 5 to 9 are their mirror images."""
