"""A whole pipeline of TMA and wgmma: its product, and each thing that must not be left out of it."""

from __future__ import annotations

import numpy as np
import pytest
from pipeline_ptx import LOAD, STAGE, WAIT, WHOLE, bent, run

from netspec.emulate import Fault


@pytest.mark.parametrize("check", [True, False])
def test_a_product_fed_by_tma(check):
    found, wanted = run(check=check)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


INIT = "fence.mbarrier_init.release.cluster;"
EXPECT = f"mbarrier.arrive.expect_tx.shared::cta.b64 %rd10, [%r13], {STAGE};"
EMPTY, FULL = f"{WAIT} %p5, [%r12], %r10;", f"{WAIT} %p5, [%r13], %r6;"
RELEASE = "@%p7 mbarrier.arrive.shared::cta.b64 %rd10, [%r12];"
WRONG = {
    "no fence behind the mbarriers' initialisation": (
        bent(INIT),
        r"thread 0 names the mbarrier at byte 49,152 .* with no fence\.mbarrier_init behind its initialisation",
    ),
    "no barrier behind it": (
        bent("bar.sync 0;"), "thread 128 uses the mbarrier at byte 49,152 .* no barrier of the block behind",
    ),
    "every thread initialises": (bent("@%p1 bra START;"), r"race: shared memory .*\(mbarrier\.init"),
    "a tensor map not acquired": (
        bent("fence.proxy.tensormap::generic.acquire.gpu [%rd1], 128;"), r"no fence\.proxy\.tensormap of its",
    ),
    "no wait for an empty stage": (
        bent(EMPTY, loop=True), "arrives at the mbarrier at byte 49,152 .* once more than the 1 of its phase 0",
    ),
    "no wait for a full stage": (bent(FULL, loop=True), "still being copied: no wait for the copy came before"),
    "a wait that gives up taken for done": (bent("@!%p5 bra FULL;"), "still being copied"),
    "a parity that is one ahead": (bent(FULL, f"{WAIT} %p5, [%r13], %r20;"), "still being copied"),
    "the consumers never arrive": (
        bent(RELEASE),
        r"thread 0 waits forever for phase 0 of the mbarrier at byte 49,168 of shared memory, which lacks 2 of 2 "
        r"arrivals; others wait too: threads 128 to 383 of block 0 at line \d+: mbarrier.* lacks 1 of 1 arrivals",
    ),
    "one consumer never arrives": (
        bent(RELEASE, "setp.eq.u32 %p8, %r17, 0; and.pred %p7, %p7, %p8;" + RELEASE), "lacks 1 of 2 arrivals",
    ),
    "the producer does not arrive": (bent(EXPECT), "phase 0 of the mbarrier at byte 49,152 .* lacks 1 of 1 arrivals"),
    "too few bytes are expected": (
        bent(EXPECT, EXPECT.replace(str(STAGE), "16384")),
        "phase 0 of the mbarrier .* is complete while copies that name it have still 8,192 bytes to bring",
    ),
    "too many bytes are expected": (
        bent(EXPECT, EXPECT.replace(str(STAGE), "32768")), "lacks 8,192 bytes that it expects",
    ),
    "half of a stage is not fetched": (
        bent(f"{LOAD} [%r15], [%rd2, {{%r20, %r16}}], [%r13];"), "lacks 8,192 bytes that it expects",
    ),
    "a stage released before its product is waited for": (
        bent("wgmma.wait_group.sync.aligned 1;"),
        "thread 0 overwrites shared memory that a product of warpgroup 1 of its block is still reading",
    ),
    "the other stage released": (
        bent("xor.b32 %r12, %r11, 8;", "mov.u32 %r12, %r11;"),
        "thread 0 waits forever for phase 0 of the mbarrier at byte 49,168 .* lacks 2 of 2 arrivals; others wait",
    ),
    "products in no group": (
        bent("wgmma.commit_group.sync.aligned;"),
        "overwrites shared memory that a product of warpgroup 1 of its block is still reading",
    ),
    "sums not waited for": (
        bent("wgmma.wait_group.sync.aligned 0;"), r"touches %f0, to which line \d+ .* is still adding",
    ),
    "no fence before a product": (bent("wgmma.fence.sync.aligned;"), "no wgmma.fence comes before"),
    "a whole warp produces": (bent("@!%p4 bra DONE;"), "thread 1 arrives at the mbarrier .* once more than the 1"),
    "no registers given up": (
        bent("setmaxnreg.dec.sync.aligned.u32 40;"),
        "thread 128 waits forever for 232 registers: of 168 a thread at launch, .* these hold 168, 168, 168",
    ),
    "too many registers asked for": (
        bent("setmaxnreg.inc.sync.aligned.u32 232;", "setmaxnreg.inc.sync.aligned.u32 240;"),
        "thread 256 waits forever for 240 registers: .* these hold 40, 240, 168, and 56 are free",
    ),
    "registers without launch bounds": (
        WHOLE.replace(".minnctapersm 1", ""), "is ignored in a kernel without launch bounds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_left_out_is_found(what):
    text, words = WRONG[what]
    with pytest.raises(Fault, match=words):
        run(text)
