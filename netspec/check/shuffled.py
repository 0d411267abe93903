"""A CPU device that makes trouble: blocks out of order, dealt at will, scratch memory spoilt before each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from netspec.contract.kernel import DEFAULT_BLOCK
from netspec.device.base import Call
from netspec.device.cpu.device import CpuDevice
from netspec.device.cpu.team import Job
from netspec.kernels.find import find_kernel
from netspec.plan.model import Pass, Queue


class ShuffledCpu(CpuDevice):
    """``team_size`` members in one thread; which member gets which block, and when, follows from ``seed``.

    Passes of the default block size are cut into some ten blocks, however small they are.
    """

    def __init__(self, team_size: int, seed: int) -> None:
        super().__init__(0, 1)
        self.team_size, self.seed = team_size, seed

    def bind(self, passes: Sequence[Pass], arrays: Mapping[str, Any], queue: Queue = "compute") -> Call:
        """See Device."""
        cut = [replace(one, block=_small(one)) for one in passes]
        jobs = [self._job(one, arrays) for one in cut]
        scratch = [[arrays[name] for name in one.per_member] for one in cut]
        rng = np.random.default_rng(self.seed)

        def call() -> None:
            for job, spaces in zip(jobs, scratch, strict=True):
                self._work(job, spaces, rng)

        return call

    def _work(self, job: Job, spaces: Sequence[Any], rng: np.random.Generator) -> None:
        for number in rng.permutation(len(job.blocks)):
            member = int(rng.integers(self.team_size))
            for space in spaces:
                space[member] = np.nan if space.dtype.kind == "f" else 85
            job.function(*job.blocks[number], *job.arguments[member])


def _small(one: Pass) -> int:
    """A tenth of the pass where the author left the block size to us; what the author asks for otherwise."""
    kernel = find_kernel(one.kernel)
    return max(1, one.extent // 10) if kernel.flat and kernel.block == DEFAULT_BLOCK else one.block
