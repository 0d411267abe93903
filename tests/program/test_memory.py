"""Memory: what is stated is what a Session allocates, and blocks that live together lie apart, as low as can be."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from nets import BATCH, ONE_DEVICE, TWO_TOWERS, batch, network

from netspec.contract.kernel import Phase
from netspec.device.cpu.device import CpuDevice
from netspec.program import memory
from netspec.program.packing import pack
from netspec.program.program import aligned
from netspec.runners.execution.session import Session


class Counting(CpuDevice):
    """A CPU device that counts the bytes it is asked for."""

    asked = 0

    def arena(self, nbytes: int) -> Any:
        self.asked += aligned(nbytes)
        return super().arena(nbytes)


@pytest.mark.parametrize("phases", [("train", "eval"), ("train", "eval", "predict"), ("eval", "predict"), ("predict",)])
@pytest.mark.parametrize("text", [TWO_TOWERS, ONE_DEVICE])
def test_what_is_stated_is_what_is_allocated(text: str, phases: Sequence[Phase]) -> None:
    devices: list[Counting] = []

    def opener(names: Sequence[str]) -> Any:
        devices.extend(Counting(index, 2) for index, _ in enumerate(names))
        return devices

    spec = network(text)
    with Session(spec, ["cpu"], phases=phases, opener=opener) as session:
        stated = memory(session.programs.values())
        single = [memory([program]) for program in session.programs.values()]
    for name, device in zip(spec.devices, devices, strict=True):
        assert stated[name]["total"] == device.asked
        assert len(phases) == 1 or device.asked > max(table[name]["total"] for table in single)


def test_a_batch_is_put_straight_into_the_first_devices_buffer() -> None:
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",)) as session:
        session.stage(batch())
        arrays = session.bound("train").arrays
        raw = {key.device: array for key, array in arrays.items() if key.of.input == "image" and key.role == "input"}
        np.testing.assert_array_equal(raw["left"], batch()["image"])
        assert raw["left"] is session.bound("train").inputs["image"] and raw["right"] is not raw["left"]
        session.start(0, BATCH)
        np.testing.assert_array_equal(raw["right"], batch()["image"])
        session.finish()


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


def test_the_work_of_packing_grows_with_the_number_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lives nested as those of activations in training are: each block lives while all before it do."""
    from netspec.program import packing

    looked: Counter[int] = Counter()
    for count in (250, 500, 1000):
        real = packing._Union.passed
        monkeypatch.setattr(
            packing._Union, "passed", lambda *args, count=count, real=real: looked.update([count]) or real(*args)
        )
        pack([(256 * (1 + number % 3), (number, 2 * count - number)) for number in range(count)])
        monkeypatch.undo()
    assert looked[1000] < 3 * looked[500] < 9 * looked[250]
