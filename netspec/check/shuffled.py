"""A CPU device that makes trouble: blocks out of order, dealt at will, scratch memory spoilt before each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from netspec.contract.kernel import DEFAULT_BLOCK
from netspec.device.base import Arrays, Call
from netspec.device.cpu.device import CpuDevice
from netspec.device.cpu.team import Block, Job
from netspec.errors import NetspecError
from netspec.kernels.lookup import find_kernel
from netspec.planning.plan import Pass, Queue
from netspec.program.fuse import covers_blocks


class ShuffledCpu(CpuDevice):
    """``team_size`` members in one thread; which member gets which block, and when, follows from ``seed``.

    Passes of the default block size are cut into some ten blocks, however small they are.
    """

    def __init__(self, team_size: int, seed: int) -> None:
        super().__init__(0, 1)
        self.team_size, self.seed = team_size, seed

    def bind(self, passes: Sequence[Pass], arrays: Arrays, queue: Queue = "compute") -> Call:
        """See Device."""
        cut = [replace(one, block=_small(one)) for one in passes]
        jobs = [self._job(one, arrays) for one in cut]
        rng = np.random.default_rng(self.seed)

        def call() -> None:
            for one, job in zip(cut, jobs, strict=True):
                self._work(one, job, arrays, rng)

        return call

    def _work(self, one: Pass, job: Job, arrays: Arrays, rng: np.random.Generator) -> None:
        for number in map(int, rng.permutation(len(job.blocks))):
            member = int(rng.integers(self.team_size))
            for space in (arrays[name] for name in one.per_member):
                space[member] = np.nan if space.dtype.kind == "f" else 85
            watched = arrays[one.over] if one.over in one.writes and one.over not in one.per_member else None
            before = None if watched is None else watched.copy()
            job.block(number, member)
            if watched is not None and before is not None and covers_blocks(one):
                _check_places(one, job.blocks[number], before.reshape(-1), watched.reshape(-1))


def _check_places(one: Pass, block: Block, before: Any, after: Any) -> None:
    """Raise where a block has written to places of another: what is fused into the pass would not find its values."""
    scale = before.size // one.extent
    start, stop = (scale * position for position in block)
    if any(before[part].tobytes() != after[part].tobytes() for part in (slice(0, start), slice(stop, None))):
        raise NetspecError(
            f"{one.kernel} is given the positions {block[0]} to {block[1] - 1} of '{one.over}' and writes others; name "
            "as over= a tensor of which a block writes its own positions, or one that the pass does not write"
        )


def _small(one: Pass) -> int:
    """A tenth of the pass where the author left the block size to us; what the author asks for otherwise."""
    kernel = find_kernel(one.kernel)
    return max(1, one.extent // 10) if kernel.flat and kernel.block == DEFAULT_BLOCK else one.block
