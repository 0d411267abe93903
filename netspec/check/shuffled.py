"""A CPU device that makes trouble: blocks out of order, dealt at will, scratch memory spoilt before each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from netspec.contract.kernel import DEFAULT_BLOCK
from netspec.contract.naming import Argument
from netspec.contract.source_place import place_of
from netspec.device.base import Arrays, Call
from netspec.device.cpu.device import CpuDevice
from netspec.device.cpu.team import Block, Job
from netspec.errors import NetspecError
from netspec.kernels.lookup import find_kernel
from netspec.planning.plan import Pass, Queue
from netspec.program.fuse import covers_blocks

_PATTERN = 93
"""What an element holds that a block has not written; a kernel seldom writes it."""


class ShuffledCpu(CpuDevice):
    """``team_size`` members in one thread; which member gets which block, and when, follows from ``seed``.

    Passes of the default block size are cut into some ten blocks, however small they are.
    """

    def __init__(self, team_size: int, seed: int, apart: bool = False) -> None:
        """``apart``: raise where two blocks of a pass write one element, which a team would do at once."""
        super().__init__(0, 1)
        self.team_size, self.seed, self.apart = team_size, seed, apart

    def bind(self, passes: Sequence[Pass], arrays: Arrays, queue: Queue = "compute") -> Call:
        """See Device."""
        cut = [replace(one, block=_small(one)) for one in passes]
        jobs = [self._job(one, arrays) for one in cut]
        rng = np.random.default_rng(self.seed)

        def call() -> None:
            written: set[Argument] = set()
            for one, job in zip(cut, jobs, strict=True):
                alone = [name for name in one.writes if name not in (*one.per_member, *written)] if self.apart else []
                self._work(one, job, arrays, rng, _Owners({name: arrays[name] for name in alone}, one.kernel))
                written.update(one.writes)

        return call

    def _work(self, one: Pass, job: Job, arrays: Arrays, rng: np.random.Generator, owners: _Owners) -> None:
        for number in map(int, rng.permutation(len(job.blocks))):
            member = int(rng.integers(self.team_size))
            for space in (arrays[name] for name in one.per_member):
                space[member] = np.nan if space.dtype.kind == "f" else 85
            watched = arrays[one.over] if one.over in one.writes and one.over not in one.per_member else None
            before = None if watched is None else watched.copy()
            with owners.of(job.blocks[number]):
                job.block(number, member)
            if watched is not None and before is not None and covers_blocks(one):
                _check_places(one, job.blocks[number], before.reshape(-1), watched.reshape(-1))


class _Owners:
    """Which elements of some arrays the blocks of a pass have written; no other block may write them."""

    def __init__(self, arrays: Mapping[Argument, Any], kernel: str) -> None:
        self.arrays, self.kernel = arrays, kernel
        self.taken = {name: np.zeros(array.shape, bool) for name, array in arrays.items()}

    @contextmanager
    def of(self, block: Block) -> Iterator[None]:
        """The block runs meanwhile and finds a pattern in the arrays: where that is left, it has not written."""
        before = {name: array.copy() for name, array in self.arrays.items()}
        for array in self.arrays.values():
            array[...] = _PATTERN
        yield
        for name, array in self.arrays.items():
            own = array != _PATTERN
            if (own & self.taken[name]).any():
                raise NetspecError(self._told(name, own & self.taken[name], block))
            self.taken[name] |= own
            array[~own] = before[name][~own]

    def _told(self, name: Argument, both: Any, block: Block) -> str:
        place = ", ".join(str(int(i)) for i in np.argwhere(both)[0])
        return (
            f"{place_of(find_kernel(self.kernel).function)}: {self.kernel} writes {name}[{place}] in the call for "
            f"positions {block[0]} to {block[1] - 1} and in another one, which a team may run at once: write from "
            'start to stop alone; scratch memory of each member\'s own is Workspace(..., per="member")'
        )


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
