"""Upper bound of matrix products on tensor cores, read from the main loop of their machine code: no GPU is needed.

Prints, for each kernel and compute capability, the instructions that a warp runs for a stage of 16 terms, or of 32 that
are bfloat16 in memory (``bf16_stored_...``), and how many cycles a stage takes of each of the units that all warps of a
quarter or of a whole multiprocessor share::

    python -m netspec.gates.tensor_core_bound            # the largest tiles, tf32
    python -m netspec.gates.tensor_core_bound PATTERN    # kernels whose names contain it, such as d_x or wgmma

A kernel cannot be faster than the busiest of these: the tensor cores (for ``float32_...`` the units that multiply and
add in float32), the issue of instructions (one a cycle for each quarter of a multiprocessor) and shared memory (128
bytes a cycle). Waiting for memory, barriers, edges and the last wave of blocks come on top, so that what is measured
lies below.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netspec.gates.assemble import Target, disassembled, find_disassembler, find_ptxas, resources_of, targets
from netspec.gates.hot_path import Instruction, hot_path
from netspec.gates.signatures import Signature, cuda_signatures
from netspec.kernels.lookup import find_kernel

_FAR_JUMP = re.compile(r"@!(P\d)\s+CALL\.REL\.NOINC `\(\.L_x_\d+\)\s*;\s*/\*[0-9a-f]+\*/\s+BRA")
"""How ptxas ends some loops for Ampere: a call, which does not come back, past the jump to the beginning."""
QUARTERS, BLOCK_K = 4, 16
"""Parts of a multiprocessor with an issue slot and a tensor core each, and terms of a stage."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a GPU has: multiprocessors, clock in GHz, and of each multiprocessor registers, shared bytes and warps.

    ``cycles`` of one m16n8k8 (tf32) or m16n8k16 (bf16) instruction of mma.sync on a quarter's tensor core, and
    ``fma_cycles`` of a warp's multiply-add in float32 on a quarter's units.
    """

    name: str
    processors: int
    clock: float
    registers: int
    shared: int
    warps: int
    cycles: float
    fma_cycles: float


CARDS = {
    (8, 0): Card("A100", 108, 1.41, 65536, 164 << 10, 64, 8.0, 2.0),
    (9, 0): Card("H100", 132, 1.755, 65536, 228 << 10, 64, 4.0 / 0.62, 1.0),
}
"""By compute capability; figures of NVIDIA's white papers (A100 SXM, H100 SXM). A100: 156 TFLOP/s of tf32 are 512
multiply-adds a cycle and multiprocessor, so 8 cycles for the 1024 of an instruction on a quarter. H100: twice as many,
but only wgmma reaches that; mma.sync was measured at 62 % of it on average (Luo et al., arXiv 2402.13499). Units of
float32 are 64 and 128 a multiprocessor."""
_WGMMA = 1024
"""Multiply-adds of tf32 a cycle and multiprocessor where Hopper's own instruction is used."""
_SHARED_READS = {"LDSM": 4, "LDS.128": 4, "LDS.64": 2, "LDS": 1, "LDGSTS.CACHED": 4}
"""Rounds of 128 bytes of a load of a warp; tests/gates/test_bank_conflicts.py holds it. The first-level
cache is in the same memory."""
_SHARED_WITH_NEIGHBOURS = 2
"""Rounds of a 128-bit load where lanes side by side load the same: half a warp at once."""
_PRODUCTS = ("HMMA", "HGMMA", "FFMA")
_TILE = re.compile(r"_(\d+)x(\d+)")


@dataclass(frozen=True, slots=True)
class Stage:
    """A warp's instructions for one k-step of the main loop, and the cycles that each unit takes for it."""

    mix: Counter[str]
    registers: int
    resident: int
    cycles: dict[str, float]
    tflops: float
    second: float
    """TB/s that the second-level cache must give for that, where the first-level one has nothing."""

    @property
    def issued(self) -> int:
        """Instructions."""
        return sum(self.mix.values())

    @property
    def bound(self) -> str:
        """The unit that is busiest."""
        return max(self.cycles, key=self.cycles.__getitem__)


def stage_of(signature: Signature, target: Target) -> Stage:
    """The main loop of a kernel of a tile of layers/_cuda/mma_block_tile.py, on the way that aligned operands take."""
    card = CARDS[9, 0] if target[0] == 9 else CARDS[8, 0]
    rows, columns, threads = _tile(signature)
    mix = main_loop(disassembled(signature, target))
    used = resources_of((signature, target))
    warps = threads // 32
    reads = sum(_rounds(name) * count for name, count in mix.items()) * warps
    copied = (rows + columns) * BLOCK_K * 4 / 128
    tensor = mix["HMMA"] * card.cycles * warps / QUARTERS
    if mix["HGMMA"]:  # of the operands, each instruction reads 64 rows and all columns, 8 terms
        reads += mix["HGMMA"] * (64 + columns) * 32 // 128
        tensor = rows * columns * BLOCK_K / _WGMMA
    if signature.variant.startswith("float32"):
        reads = mix["LDS.128"] * _SHARED_WITH_NEIGHBOURS * warps
        tensor = mix["FFMA"] * card.fma_cycles * warps / QUARTERS
    cycles = {
        "tensor cores": tensor,
        "issue": sum(mix.values()) * warps / QUARTERS,
        "shared memory": reads + copied,
    }
    stages = card.processors * card.clock / max(cycles.values()) / 1000  # in 10 ** 12 a second
    blocks = resident(card, used["registers"], used["shared"], threads)
    operations = 2 * rows * columns * (2 * BLOCK_K if "stored" in signature.variant else BLOCK_K)
    return Stage(mix, used["registers"], blocks, cycles, stages * operations, stages * copied * 128)


def _tile(signature: Signature) -> tuple[int, int, int]:
    """Rows and columns of a kernel's tile, and threads of a block."""
    found, threads = _TILE.search(signature.variant), find_kernel(signature.kernel).threads
    assert found is not None and isinstance(threads, int)
    return int(found[1]), int(found[2]), threads


def resident(card: Card, registers: int, shared: int, threads: int) -> int:
    """Blocks that a multiprocessor holds at once. Registers are dealt out 8 to a thread; a block's shared memory takes
    1 KiB more than it declares."""
    per_warp = -(-registers // 8) * 8 * 32
    by_registers = card.registers // per_warp // (threads // 32)
    return min(by_registers, card.shared // (shared + 1024), card.warps * 32 // threads)


def main_loop(text: str) -> Counter[str]:
    """Instructions of the loop with the products, by kind: on tensor cores, or else multiply-adds.

    Copies to shared memory count as the loads that they are.
    """
    path = hot_path(_FAR_JUMP.sub(r"@\1 BRA", text.replace("LDGSTS.", "LDG.COPY.")))
    loops = [path.blocks[first : last + 1] for first, last in path.loops]
    codes = [[one for block in loop for one in block.code] for loop in loops]
    found = ([code for code in codes if any(one.name.startswith(name) for one in code)] for name in _PRODUCTS)
    code = min(next(filter(None, found)), key=len)
    return Counter(map(_kind, code))


def _kind(one: Instruction) -> str:
    if one.name.startswith("LDG.COPY"):
        if ".128" not in one.name:
            return "LDGSTS"
        return "LDGSTS.128" if ".BYPASS" in one.name else "LDGSTS.CACHED"
    first = one.name.partition(".")[0]
    if first == "LDS" and one.operands.startswith("RZ"):
        return "NOP"  # what ptxas puts before copies
    width = re.search(r"\.(64|128)\b", one.name) if first == "LDS" else None
    return f"LDS.{width[1]}" if width else first


def _rounds(name: str) -> int:
    return _SHARED_READS.get(name, 0)


def products(pattern: str = "") -> Iterator[Signature]:
    """Signatures of the kernels for matrix products, without epilogues of their own."""
    for one in cuda_signatures():
        chosen = pattern in one.kernel if pattern else one.variant == "tf32_128x128"
        own = one.variant in one.kernel and "_sum_" not in one.kernel
        if _TILE.search(one.variant) and own and not one.then and chosen:
            yield one


_HEAD = (
    "registers blocks | issued  MMA convert LDS LDGSTS other | tensor  issue shared cycles | L2 TB/s | TFLOP/s at most"
)


def _line(found: Stage) -> str:
    mix = found.mix
    convert = mix["F2FP"] + mix["FSETP"]
    loads, copies = (sum(n for name, n in mix.items() if name.startswith(kind)) for kind in (("LDS",), ("LDGSTS",)))
    matrix = mix["HMMA"] + mix["HGMMA"] or mix["FFMA"]
    other = found.issued - matrix - convert - loads - copies
    counts = f"{found.issued:6} {matrix:4} {convert:7} {loads:3} {copies:6} {other:5}"
    spent = f"{found.cycles['tensor cores']:6.0f} {found.cycles['issue']:6.0f} {found.cycles['shared memory']:6.0f}"
    most = f"{found.second:7.1f} | {found.tflops:.0f}, by {found.bound}"
    return f"{found.registers:9} {found.resident:6} | {counts} | {spent}        | {most}"


def main(arguments: Sequence[str]) -> int:
    """The command."""
    if len(arguments) > 1 or "-h" in arguments or "--help" in arguments:
        print(__doc__)
        return 2
    if find_ptxas() is None or find_disassembler() is None:
        print("ptxas or nvdisasm is not installed: pip install 'netspec[gates]'")
        return 2
    print(f"{'kernel':44} {_HEAD}")
    for one in products(*arguments):
        for target in targets(one):
            name = CARDS[9, 0].name if target[0] == 9 else CARDS[8, 0].name
            print(f"{one.kernel[:38]:38} {name} {_line(stage_of(one, target))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
