"""Intrinsics for mbarriers, Hopper's barriers in shared memory for asynchronous copies, and for the roles of warps.

An mbarrier is 8 bytes of shared memory, known by its address (uint32). It counts arrivals and bytes of copies; when all
that its phase waits for has come, the phase is over and the next one begins (PTX ISA, "mbarrier").

- ``shared_address(array)``, ``global_address(array)``: an array's first element, as uint32 or uint64;
- ``init(barrier, arrivals)`` by one thread, which then calls ``fence_init()``, before the block's barrier;
- ``expect(barrier, size)`` arrives, and has the phase wait for so many bytes of copies more;
- ``arrive(barrier)``;
- ``wait(barrier, parity)`` until the phase of that parity (0, 1, 0, ...) is over; with parity 1 a new barrier's
  threads go on at once.

Roles: ``elected()`` is 1 in one thread of a whole warp, else 0: copies are issued by that one. ``of_warp(i)`` is the
first lane's int32, which the compiler then knows to be the same in all. ``take_registers(n)`` and
``give_registers(n)`` make intrinsics that set the registers of a warpgroup's threads, which all call it:
kernels begin with what their launch bounds allow, and who takes waits until others have given.
``sync_warpgroups(barrier, threads)`` is a barrier of a part of the block, by its number (1 to 15; 0 is syncthreads').
"""

from __future__ import annotations

from functools import cache
from typing import Any

from netspec.kernels.inline_ptx import address, pointer, uint32
from netspec.kernels.numba_cuda import named_intrinsic, types
from netspec.kernels.scalar_instruction import scalar_instruction


def _address(name: str, shared: bool) -> Any:
    def define(_, array):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return address(builder, pointer(context, builder, signature.args[0], args[0], uint32(0)), shared)

        return (types.uint32 if shared else types.uint64)(array), generate

    return named_intrinsic(define, name)


shared_address, global_address = _address("shared_address", True), _address("global_address", False)

init = scalar_instruction("init", "mbarrier.init.shared::cta.b64 [$0], $1;", "rr")
fence_init = scalar_instruction("fence_init", "fence.mbarrier_init.release.cluster;", "")
expect = scalar_instruction(
    "expect", "{ .reg .b64 state; mbarrier.arrive.expect_tx.shared::cta.b64 state, [$0], $1; }", "rr"
)
arrive = scalar_instruction("arrive", "{ .reg .b64 state; mbarrier.arrive.shared::cta.b64 state, [$0]; }", "r")
wait = scalar_instruction(
    "wait",
    "{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [$0], $1; @done bra over; "
    "bra again; over: }",
    "rr",
)

elected = scalar_instruction(
    "elected", "{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.b32 $0, 1, 0, p; }", "", "r"
)
of_warp = scalar_instruction("of_warp", "shfl.sync.idx.b32 $0, $1, 0, 0x1f, 0xffffffff;", "i", "i")
sync_warpgroups = scalar_instruction("sync_warpgroups", "bar.sync $0, $1;", "rr")


@cache
def take_registers(count: int) -> Any:
    """See above; ``count`` is a multiple of 8 from 24 to 256."""
    return scalar_instruction(f"take_registers_{count}", f"setmaxnreg.inc.sync.aligned.u32 {count};", "")


@cache
def give_registers(count: int) -> Any:
    """See above."""
    return scalar_instruction(f"give_registers_{count}", f"setmaxnreg.dec.sync.aligned.u32 {count};", "")
