"""Offsets in an arena for blocks that live for some time: each at the lowest place that is free, large ones first.

What is taken at any moment of a block's life is looked up in a segment tree over time, whose nodes hold unions of
ranges; blocks lie close together, so a union is a few ranges however many blocks it is of.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

Life = tuple[int, int]
"""The first and the last moment at which a block is needed."""


def pack(blocks: Sequence[tuple[int, Life]]) -> list[int]:
    """The offset of each block, given as its size and its life: two that live at one moment do not overlap."""
    taken = _Timeline(max((life[1] for _, life in blocks), default=0))
    offsets = [0] * len(blocks)
    for number in sorted(range(len(blocks)), key=lambda number: (-blocks[number][0], blocks[number][1][0])):
        size, life = blocks[number]
        offsets[number] = _lowest(taken.during(life), size)
        taken.add(life, offsets[number], offsets[number] + size)
    return offsets


def _lowest(unions: Sequence[_Union], size: int) -> int:
    """The lowest offset from which so many bytes are free in all of the unions."""
    offset, moved = 0, True
    while moved:
        before = offset
        for union in unions:
            offset = union.passed(offset, size)
        moved = offset > before
    return offset


class _Union:
    """A union of ranges, as ranges that neither overlap nor touch."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []

    def add(self, start: int, stop: int) -> None:
        first, last = bisect_left(self.stops, start), bisect_right(self.starts, stop)
        if first < last:
            start, stop = min(start, self.starts[first]), max(stop, self.stops[last - 1])
        self.starts[first:last], self.stops[first:last] = [start], [stop]

    def passed(self, offset: int, size: int) -> int:
        """The offset, or the lowest higher one from which so many bytes are free."""
        place = bisect_right(self.stops, offset)
        while place < len(self.starts) and self.starts[place] < offset + size:
            offset = self.stops[place]
            place += 1
        return offset


class _Timeline:
    """Ranges by when they are taken: a segment tree."""

    def __init__(self, last: int) -> None:
        self.leaves = 1 << last.bit_length()
        self.throughout: dict[int, _Union] = defaultdict(_Union)
        """Node -> what is taken during all of it, and not of its parent's time."""
        self.ever: dict[int, _Union] = defaultdict(_Union)
        """Node -> what is taken at some moment of it, and not throughout its parent's time."""

    def add(self, life: Life, start: int, stop: int) -> None:
        nodes = self._nodes(life)
        for node in nodes:
            self.throughout[node].add(start, stop)
        for node in {*nodes, *_ancestors(nodes)}:
            self.ever[node].add(start, stop)

    def during(self, life: Life) -> list[_Union]:
        nodes = self._nodes(life)
        whole = [self.throughout[node] for node in _ancestors(nodes) if node in self.throughout]
        return [*whole, *(self.ever[node] for node in nodes if node in self.ever)]

    def _nodes(self, life: Life) -> list[int]:
        """The fewest nodes that make up the time."""
        low, high, found = life[0] + self.leaves, life[1] + self.leaves + 1, []
        while low < high:
            if low & 1:
                found.append(low)
                low += 1
            if high & 1:
                high -= 1
                found.append(high)
            low, high = low >> 1, high >> 1
        return found


def _ancestors(nodes: Iterable[int]) -> set[int]:
    found: set[int] = set()
    for node in nodes:
        while (node := node >> 1) and node not in found:
            found.add(node)
    return found
