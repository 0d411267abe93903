"""Roofline of memory-bound kernels: the share of a GPU's bandwidth that their machine code allows.

Nothing is measured: shapes are AlexNet's at batch 128, one tower's, rows of a transformer and predictions, and what a
thread runs is read from what ptxas made of the kernel (see netspec.gates.hot_path). The table says for each kernel
which limit is nearest::

    python -m netspec.gates.bandwidth            # H200
    python -m netspec.gates.bandwidth A100
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import ceil, prod
from types import SimpleNamespace
from typing import Any, cast

from netspec.check.single import SingleLayer
from netspec.contract.kernel import PHASES, Direction, Phase
from netspec.contract.naming import COUNTERS, Argument
from netspec.contract.tensor import Tensor, itemsize
from netspec.gates.assemble import disassembled, find_disassembler, find_ptxas, resources_of
from netspec.gates.hot_path import hot_path
from netspec.gates.signatures import Signature, cuda_signatures
from netspec.planning.plan import Pass
from netspec.program.passes import arrays_of


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU: memory bandwidth in bytes/s, multiprocessors, clock under load in Hz, compute capability."""

    bandwidth: float
    processors: int
    clock: float
    capability: tuple[int, int]

    @property
    def per_cycle(self) -> float:
        """Memory bandwidth of one multiprocessor, bytes a cycle."""
        return self.bandwidth / self.processors / self.clock


CARDS: Mapping[str, Card] = {
    "H200": Card(4.8e12, 132, 1.7e9, (9, 0)),
    "H100": Card(3.35e12, 132, 1.7e9, (9, 0)),
    "A100": Card(2.04e12, 108, 1.3e9, (8, 0)),
}
ISSUED, SPECIAL, CACHE = 128, 16, 64
"""Instructions of threads, those of the unit for special functions (MUFU), and bytes of loads that a multiprocessor
does in a cycle: the last for the first-level cache, a cautious half of what it can."""
LATENCY, DEPENDENT, MEET, START = 800, 5, 40, 400
"""Cycles that a load from a busy memory takes, that an instruction waits for the one before, a barrier for a block's
other warps, and that a block's start costs."""
REGISTERS, WARPS, BLOCKS, SHARED = 65536, 64, 32, 200 << 10
"""What a multiprocessor has for the blocks that it runs at a time."""
_IMAGES, _DEEP, _WIDE, _CLASSES = (128, 55, 55, 48), (128, 27, 27, 128), (128, 4096), (128, 1000)
_TOKENS, _NARROW, _NUMBERS = (128 * 197, 1024), (128 * 197, 768), (8192, 1000)
"""Rows of two transformers' layers (ViT-L/16, ViT-B/16), and predictions enough to fill a card, which those of _CLASSES
are not."""


@dataclass(frozen=True)
class Case:
    """A kernel with the pass that is counted: bytes read and written at least, and rounds of its loops."""

    kernel: str
    shape: tuple[int, ...]
    read: int
    written: int
    blocks: int
    threads: int
    trips: tuple[float, ...] = ()


@dataclass(frozen=True)
class Row:
    """What was found of a case; ``limits`` are shares of the bandwidth that each limit leaves, at most 1."""

    case: Case
    instructions: float
    together: int
    registers: int
    resident: int
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """What the nearest limit leaves."""
        return min(self.limits.values())


_LAYERS: Sequence[tuple[str, Mapping[str, Any], tuple[tuple[int, ...], ...], Phase]] = (
    ("relu", {}, (_IMAGES,), "train"),
    ("gelu", {}, (_IMAGES,), "train"),  # one of those that are written once for CPUs and GPUs
    ("lrn", {}, (_IMAGES,), "train"),
    ("lrn_within", {"size": 5}, (_DEEP,), "train"),
    ("pool", {"mode": "max", "size": 3, "stride": 2}, (_IMAGES,), "train"),
    ("pool", {"mode": "max", "size": 3, "stride": 2}, (_IMAGES,), "predict"),
    ("pool", {"mode": "average", "size": 3, "stride": 2}, (_IMAGES,), "train"),
    ("dropout", {}, (_WIDE,), "train"),
    ("dropout", {}, (_WIDE,), "predict"),
    ("softmax_loss", {}, (_CLASSES, _CLASSES[:1]), "train"),
    ("sum", {}, (_DEEP, _DEEP), "train"),
    ("concat", {}, (_DEEP, _DEEP), "train"),
    ("prelu", {}, (_IMAGES,), "train"),
    ("batch_norm", {}, (_IMAGES,), "train"),
    ("layer_norm", {}, (_TOKENS,), "train"),
    ("layer_norm", {}, (_NARROW,), "train"),
    ("mse", {}, (_NUMBERS, _NUMBERS), "train"),
    ("mse", {}, (_CLASSES, _CLASSES), "train"),
)
_TRIPS: Mapping[str, tuple[float, ...]] = {
    "lrn_within:forward_vector_cuda": (8, 1),
    "lrn_within:ratio_vector_cuda": (8, 1),
    "lrn_within:backward_vector_cuda": (8, 1),
    "pool:max_vector_cuda": (1, 1),
    "pool:max_only_vector_cuda": (1, 1),
    "pool:average_vector_cuda": (1, 1),
    "pool:d_max_vector_cuda": (2, 0.5),  # two pixels of a row, of which the machine code has one and a loop of two
    "pool:d_average_vector_cuda": (2, 0.5),
    "softmax_loss:judge_vector_cuda": (0, 0),
    "ops.prepare:prepare_cuda": (1,),
    "ops.prepare:tint_cuda": (1,),
}
"""Rounds of the loops that stand in the machine code, outer ones first, for the shapes above, of kernels that read
some elements more than once; those of others follow from what a thread has to load, see HotPath.rounds."""
_UPDATED = ("update_cuda", "clipped_cuda", "average_cuda")
"""Kernels that read what they write, but for a flag."""
_FLAG = 4
"""Its bytes."""
_PARTS = {
    "concat:forward_vector_cuda": Argument("y"),
    "concat:backward_vector_cuda": Argument("y", "gradient"),
}
"""Arguments of which a pass has a part only, as large as what it is over."""


@cache
def cases() -> tuple[Case, ...]:
    """All kernels that are counted."""
    layers = [case for layer in _LAYERS for case in _of_layer(*layer)]
    return (*layers, *_of_operations())


def _of_layer(name: str, attrs: Mapping[str, Any], shapes: Sequence[tuple[int, ...]], phase: Phase) -> Iterator[Case]:
    compiler = cast(Any, SimpleNamespace(kind="cuda", team_size=1))
    inputs = [Tensor(shape) if len(shape) > 1 else Tensor(shape, "int32") for shape in shapes]
    plain = SingleLayer(name, attrs, inputs, compiler, phase=phase)
    variant = next(iter(plain.layer.prefer.get("cuda", ("plain",))))
    one = SingleLayer(name, attrs, inputs, compiler, phase=phase, variant=variant)
    directions: tuple[Direction, ...] = ("forward", "backward") if phase == "train" else ("forward",)
    for direction in directions:
        arrays = arrays_of(one.layer, one.t, variant, direction)
        for item in {item.kernel: item for item in one.passes(direction)}.values():  # the last one of several inputs
            if item.over != Argument("report"):
                yield _case(item, dict(_declared(item, arrays)), shapes[0])


def _declared(item: Pass, arrays: Mapping[str, Tensor]) -> Iterator[tuple[Argument, int]]:
    for _, target in item.args:
        if target is not None and target != COUNTERS:
            source = item.over if item.over and target == _PARTS.get(item.kernel) else target
            tensor = arrays[source.tensor]
            yield target, prod(tensor.shape) * itemsize(tensor.dtype)


def _of_operations() -> Iterator[Case]:
    """The largest step of each operation in AlexNet."""
    from netspec.planning import build
    from netspec.program.steps import Lowering
    from netspec.solvers import solver_types
    from netspec.spec import load

    plans = [build(load("alexnet", ["train.ema={}"]), phase, 128) for phase in PHASES]
    for name in solver_types():
        sets = [f"train.solver={name}", "train.clip_norm=1.0"]
        plans += [build(load("alexnet", sets[:count]), "train", 128) for count in (1, 2)]
    found: dict[str, Case] = {}
    for plan, step in ((one, step) for one in plans for step in one.steps):
        if step.op not in ("prepare", "finite", "squares", "update", "average", "sum"):
            continue
        lowering = Lowering(plan, dict.fromkeys(plan.devices, "cuda"), dict.fromkeys(plan.devices, 1), 0)
        for item in lowering.lower(step).passes:
            arrays = {}
            for _, target in item.args:
                if target is not None:
                    region = step.args[target]
                    buffer = plan.buffers[region.buffer]
                    arrays[target] = prod(region.shape_in(buffer.shape)) * itemsize(buffer.dtype)
            case = _case(item, arrays, (item.extent,))
            if case.read > found.get(item.kernel, case).read or item.kernel not in found:
                found[item.kernel] = case
    yield from (case for name, case in found.items() if not name.endswith("raise_cuda"))


def _case(item: Pass, arrays: Mapping[Argument, int], shape: tuple[int, ...]) -> Case:
    again = item.kernel.partition(":")[2] in _UPDATED
    read = sum(size for target, size in arrays.items() if target not in item.writes or (again and size > _FLAG))
    written = sum(size for target, size in arrays.items() if target in item.writes)
    return Case(item.kernel, shape, read, written, prod(item.grid), prod(item.threads), _TRIPS.get(item.kernel, ()))


def examine(case: Case, card: Card) -> Row:
    """Count a case's instructions, loads and threads, and what share of a card's bandwidth each limit leaves."""
    job = _signatures()[case.kernel], card.capability
    threads, used = case.blocks * case.threads, resources_of(job)
    path = hot_path(disassembled(*job), math.inf if case.trips else case.read / threads)
    resident = _resident(case.threads, used)
    moved = case.read + case.written
    trips = case.trips or path.rounds(case.read / threads)
    each = moved / threads
    count = path.count(trips)
    cycles = START + LATENCY * path.waits(trips) + DEPENDENT * count + MEET * path.count(trips, "BAR")
    busy = min(resident, threads / card.processors)
    limits = {
        "issue": ISSUED * each / count,
        "special": SPECIAL * each / max(path.count(trips, "MUFU"), 1),
        "cache": CACHE * each / max(path.loaded(trips), 1),
        "waiting": busy * each / cycles,
    }
    shares = {name: min(1.0, value / card.per_cycle) for name, value in limits.items()}
    whole = moved / card.per_cycle / card.processors
    shares["size"] = whole / (whole + START + LATENCY)
    return Row(case, 16 * count / each, path.together[1], used["registers"], resident, shares)


def _resident(threads: int, used: Mapping[str, int]) -> int:
    """Resident threads of a multiprocessor (occupancy)."""
    warps = ceil(threads / 32)
    registers = ceil(used["registers"] / 8) * 8 * 32 * warps
    blocks = min(BLOCKS, WARPS // warps, REGISTERS // registers, SHARED // (used["shared"] + 1024))
    return blocks * threads


@cache
def _signatures() -> Mapping[str, Signature]:
    found: dict[str, Signature] = {}
    for one in cuda_signatures():
        found.setdefault(one.kernel, one)
    return found


def rows(card: Card) -> list[Row]:
    """All cases on a card."""
    return [examine(case, card) for case in cases()]


_HEAD = "| kernel | shape | MiB | registers | threads | loads together | instructions | limit | share |"


def table(found: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = [_HEAD, "|---|---|---|---|---|---|---|---|---|"]
    for row in found:
        case, limit = row.case, min(row.limits, key=lambda name: row.limits[name])
        shape = "x".join(map(str, case.shape)) if len(case.shape) > 1 else f"{case.shape[0]:,}"
        cells = (
            case.kernel, shape, f"{(case.read + case.written) / 2**20:.1f}", str(row.registers), str(row.resident),
            f"{row.together} B", f"{row.instructions:.0f}", limit if row.share < 1 else "memory", f"{row.share:.2f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The command; 2 where a tool is missing or the card is not known."""
    name = arguments[0] if arguments else "H200"
    if len(arguments) > 1 or name not in CARDS:
        print(__doc__)
        return 2
    if find_ptxas() is None or find_disassembler() is None:
        print("ptxas or nvdisasm is not installed: pip install 'netspec[gates]'")
        return 2
    card = CARDS[name]
    print(f"{name}: a multiprocessor moves {card.per_cycle:.1f} bytes a cycle, {ISSUED * 16 / card.per_cycle:.0f} "
          "instructions of threads for 16 bytes\n")  # fmt: skip
    print(table(rows(card)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
