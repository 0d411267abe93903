"""Rows of a batch on several devices: which device has which, and how a value comes to have another layout.

A layer with ``split: batch`` computes its device's rows of the batch with all of its parameters: data parallelism. What
it reads from elsewhere, and what reads all of its rows, takes an exchange: a buffer on the reader's device that moves
of rows or of channels put together. The gradient goes back by the same moves; what several devices give for the same
rows is added in the order of the devices. So an exchange of all rows is an all-gather forward, a reduce-scatter back.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from itertools import chain, count

from netspec.contract.tensor import Tensor
from netspec.planning.identities import BufferKey
from netspec.planning.shards import Part, Rows, Value


def share_of(batch: int, count: int, index: int) -> Rows:
    """The rows of one of ``count`` devices: as many on each.

    Where the batch does not divide, which training does not allow, the last ones share rows with those before them.
    """
    size = -(-batch // count)
    start = min(index * size, batch - size)
    return Rows(start, start + size)


@dataclass(frozen=True, slots=True)
class Move:
    """Rows ``[start, stop)`` of a part, counted from its first; they lie from ``place`` on along ``axis`` of a buffer.
    """

    part: Part
    start: int
    stop: int
    axis: int
    place: int

    @property
    def is_whole(self) -> bool:
        """Whether it takes all of the part."""
        return (self.start, self.stop) == (0, self.part.tensor.shape[0])

    @property
    def nbytes(self) -> int:
        """What it moves."""
        tensor = self.part.tensor
        return tensor.nbytes // tensor.shape[0] * (self.stop - self.start)

    @property
    def end(self) -> int:
        """Where it ends along ``axis``."""
        return self.place + (self.stop - self.start if self.axis == 0 else self.part.tensor.shape[-1])


@dataclass(frozen=True, slots=True)
class Exchange:
    """A part that moves put together; ``reader`` is the layer that asked for it first.

    ``readers`` are the devices among which the rows are dealt: the exchanges of all of them cover what they read once.
    """

    part: Part
    moves: tuple[Move, ...]
    reader: str
    readers: tuple[str, ...]


def exchange(
    value: Value, rows: Rows, device: str, reader: str, readers: tuple[str, ...], taken: Container[BufferKey]
) -> Exchange:
    """All channels of some rows of a value, on a device, in a buffer that is not ``taken`` for other readers."""
    moves = tuple(_cut_rows(value, rows) if value.layout == "rows" else _joined_channels(value, rows))
    like, channels = value.parts[0].tensor, max(part.stop for part in value.parts)
    shape = (rows.stop - rows.start, *like.shape[1:-1], *[channels] * (len(like.shape) > 1))
    key = BufferKey(value.key, "activation", device, rows=(rows.start, rows.stop))
    key = next(one for one in chain([key], (replace(key, index=n) for n in count(1))) if one not in taken)
    part = Part(key, Tensor(shape, like.dtype, like.differentiable), 0, channels, rows.start)
    return Exchange(part, moves, reader, readers)


def _cut_rows(value: Value, rows: Rows) -> Iterator[Move]:
    """Each row once, from the first part that has it."""
    at = rows.start
    for part in value.parts:
        stop = min(part.rows.stop, rows.stop)
        if part.rows.start <= at < stop:
            yield Move(part, at - part.row, stop - part.row, 0, at - rows.start)
            at = stop


def _joined_channels(value: Value, rows: Rows) -> Iterator[Move]:
    for part in value.parts:
        axis = len(part.tensor.shape) - 1 if len(value.parts) > 1 else 0
        yield Move(part, rows.start, rows.stop, axis, part.start if axis else 0)
