"""Memory: what is stated is what a Session allocates, and a batch is copied once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from nets import BATCH, ONE_DEVICE, TWO_TOWERS, batch, network

from netspec.contract.kernel import Phase
from netspec.device.cpu.device import CpuDevice
from netspec.program import memory
from netspec.program.program import aligned
from netspec.runners.execution.results import handed_over
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


def test_what_the_host_reads_after_an_iteration_shares_no_memory() -> None:
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train", "eval", "predict")) as session:
        for phase, program in session.programs.items():
            read = set(handed_over(session.bound(phase)))
            assert read & program.offsets.keys() <= {program.plan.answer}, phase  # which is kept to the end
            assert {key.role for key in read} == ROLES[phase]


ROLES = {"train": {"report", "verdict", "overflow"}, "eval": {"report", "activation"}, "predict": {"activation"}}
