"""Packing: blocks that live together lie apart, each as low as a search through all others puts it."""

from __future__ import annotations

import random

import pytest

from netspec.program import packing
from netspec.program.packing import pack


def test_blocks_lie_where_a_search_through_all_others_puts_them() -> None:
    for seed in range(40):
        chance = random.Random(seed)
        lives = [sorted(chance.choices(range(30), k=2)) for _ in range(chance.randint(1, 40))]
        blocks = [(chance.choice((16, 16, 32, 48, 80)), (first, last)) for first, last in lives]
        assert pack(blocks) == searched(blocks), seed


def searched(blocks: list[tuple[int, tuple[int, int]]]) -> list[int]:
    """The lowest free offset of each, large ones first, by trying every place where another ends."""
    offsets: dict[int, int] = {}
    for number in sorted(range(len(blocks)), key=lambda number: (-blocks[number][0], blocks[number][1][0])):
        size, (first, last) = blocks[number]
        near = [(offsets[n], offsets[n] + blocks[n][0]) for n in offsets if meet(blocks[n][1], (first, last))]
        places = sorted({0, *(stop for _, stop in near)})
        offsets[number] = next(at for at in places if all(stop <= at or at + size <= start for start, stop in near))
    return [offsets[number] for number in range(len(blocks))]


def meet(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def test_the_work_grows_with_the_number_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lives nested as those of activations in training are: each block lives while all after it do."""
    looked = 0
    passed = packing._Union.passed

    def counted(union: packing._Union, offset: int, size: int) -> int:
        nonlocal looked
        looked += 1
        return passed(union, offset, size)

    monkeypatch.setattr(packing._Union, "passed", counted)
    work = []
    for count in (250, 500, 1000):
        looked = 0
        pack([(256 * (1 + number % 3), (number, 2 * count - number)) for number in range(count)])
        work.append(looked)
    assert work[1] < 3 * work[0] and work[2] < 3 * work[1]
