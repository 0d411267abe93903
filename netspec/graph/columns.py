"""How boxes share the width of their lane: side by side in rows, and those in a frame in a column of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum  # rounds alike in every Python: sum does so from 3.12 on only

from netspec.graph.labels import width
from netspec.graph.view import Node, NodeKey
from netspec.units import many

SPACE, INSET = 12, 10
"""Between boxes of a row, and between a frame and what is in it."""

Cells = Mapping[int, Sequence[Node]]
"""The boxes of a lane, or of a part of it, by row."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A part of a lane: boxes by row, and frames in it. ``path``: the names of the frames round it, and its own."""

    path: tuple[str, ...]
    cells: Cells
    inner: tuple[Frame, ...]

    @property
    def first(self) -> int:
        """The highest row."""
        return min((*self.cells, *(one.first for one in self.inner)))

    @property
    def last(self) -> int:
        """The lowest row."""
        return max((*self.cells, *(one.last for one in self.inner)))

    def beginning_at(self, row: int) -> int:
        """How many frames, one in the other, begin at a row."""
        return max(((one.first == row) + one.beginning_at(row) for one in self.inner), default=0)

    def ending_at(self, row: int) -> int:
        """How many frames, one in the other, end at a row."""
        return max(((one.last == row) + one.ending_at(row) for one in self.inner), default=0)


@dataclass(frozen=True, slots=True)
class _Column:
    """What stands below each other: boxes outside of all frames, or frames."""

    cells: Cells
    frames: tuple[Frame, ...] = ()

    @property
    def least(self) -> float:
        rows = [_least_of_row(cell) for cell in self.cells.values()]
        return max([*rows, *(least(frame) + 2 * INSET for frame in self.frames)])

    def place(self, places: Mapping[NodeKey, float]) -> float:
        """Where it stands between left and right, on average of its boxes."""
        parts: tuple[Frame | _Column, ...] = (self, *self.frames)
        found = [places[node.key] for part in parts for node in _nodes(part)]
        return fsum(found) / len(found)


def frames_of(cells: Cells, path: tuple[str, ...] = ()) -> Frame:
    """A lane's boxes by frames; with a path those of one frame, whose boxes ``cells`` has."""
    depth = len(path)
    own = {row: part for row, cell in cells.items() if (part := [one for one in cell if len(one.within) == depth])}
    inner: dict[str, dict[int, list[Node]]] = {}
    for row, cell in cells.items():
        for node in cell:
            if len(node.within) > depth:
                inner.setdefault(node.within[depth], {}).setdefault(row, []).append(node)
    return Frame(path, own, tuple(frames_of(part, (*path, name)) for name, part in inner.items()))


def least(frame: Frame) -> float:
    """The least width of what is in a frame, or in a lane."""
    return max((_least_of(columns) for columns in _bands(frame)), default=0.0)


def shared(
    frame: Frame, left: float, wide: float, places: Mapping[NodeKey, float]
) -> Iterator[tuple[Node | Frame, float, float]]:
    """All boxes and frames with the left end and the width that each of them gets.

    ``places`` says where boxes stand in their rows, from 0 at the left to 1, by which columns are ordered.
    """
    for columns in _bands(frame):
        x, spare = left, (wide - _least_of(columns)) / len(columns)
        for column in sorted(columns, key=lambda column: column.place(places)):
            own = column.least + spare
            for cell in column.cells.values():
                yield from _row(cell, x, own)
            for one in column.frames:
                yield one, x, own
                yield from shared(one, x + INSET, own - 2 * INSET, places)
            x += own + SPACE


def _bands(frame: Frame) -> list[list[_Column]]:
    """Rows without frames, each a column alone, and runs of rows in which frames stand side by side; from the top."""
    runs: list[list[Frame]] = []
    for one in sorted(frame.inner, key=lambda one: one.first):
        if runs and one.first <= max(other.last for other in runs[-1]):
            runs[-1].append(one)
        else:
            runs.append([one])
    rest, bands = dict(frame.cells), dict[int, list[_Column]]()
    for run in runs:
        first = run[0].first
        span = range(first, max(one.last for one in run) + 1)
        beside = {row: rest.pop(row) for row in span if row in rest}
        bands[first] = [_Column({}, tuple(frames)) for frames in _below_each_other(run)]
        bands[first] += [_Column(beside)] if beside else []
    bands |= {row: [_Column({row: cell})] for row, cell in rest.items()}
    return [bands[row] for row in sorted(bands)]


def _below_each_other(run: Sequence[Frame]) -> list[list[Frame]]:
    """Frames in as few columns as they need, the highest first."""
    columns: list[list[Frame]] = []
    for one in run:
        free = next((column for column in columns if column[-1].last < one.first), None)
        if free is None:
            columns.append([one])
        else:
            free.append(one)
    return columns


def _nodes(part: Frame | _Column) -> Iterator[Node]:
    for cell in part.cells.values():
        yield from cell
    for one in part.inner if isinstance(part, Frame) else ():
        yield from _nodes(one)


def _row(cell: Sequence[Node], left: float, wide: float) -> Iterator[tuple[Node, float, float]]:
    """The boxes of one row, which share its width; inputs keep to their own."""
    inputs = fsum(_least(node) for node in cell if node.kind == "input")
    others = sum(node.kind != "input" for node in cell)
    free = wide - inputs - SPACE * (len(cell) - 1)
    x = left if others else left + free / 2
    for node in cell:
        own = _least(node) if node.kind == "input" else free / others
        yield node, x, own
        x += own + SPACE


def _least_of(columns: Sequence[_Column]) -> float:
    return fsum(column.least for column in columns) + SPACE * (len(columns) - 1)


def _least_of_row(cell: Sequence[Node]) -> float:
    """The least width of a row of boxes, which are of one width but for inputs."""
    inputs = [_least(node) for node in cell if node.kind == "input"]
    others = [_least(node) for node in cell if node.kind != "input"]
    return fsum(inputs) + len(others) * max(others, default=0.0) + SPACE * (len(cell) - 1)


def _least(node: Node) -> float:
    """The least width of a node's box."""
    if node.kind == "input":
        return width(node.name, 13) * 1.1 + width(node.shape, 12) + 34
    details = width(", ".join(node.details), 11)
    first = width(f"{node.name} {node.type} ", 13) * 1.05 + width(node.shape, 12)
    if not node.parameters:
        return first + details + 50
    return max(first, details + width(many(node.parameters, "parameter"), 11)) + 40
