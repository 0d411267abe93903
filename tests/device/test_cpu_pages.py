"""Pages that are asked for ahead are there when they are used, and hold what they held."""

from __future__ import annotations

import resource
import sys

import numpy as np
import pytest

from netspec.device.cpu.pages import populate


@pytest.mark.skipif(sys.platform != "linux", reason="the request is Linux's")
def test_pages_are_there_before_they_are_touched() -> None:
    block = np.empty((1 << 26) + 100, np.uint8)
    block[12345] = 7
    thread = populate(block)
    assert thread is not None
    thread.join()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block[4096::4096] = 1
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert block[12345] == 7
    if faults > 100:
        pytest.skip("this system's kernel is older than the request")


def test_small_blocks_are_left_alone() -> None:
    assert populate(np.empty(1000, np.uint8)) is None
