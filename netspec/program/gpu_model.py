"""How long a Program takes on a GPU that need not be here: a cost model, and the roofline that bounds it.

A step takes as long as its kernels' estimated cost, or as its bytes at the rate of a large copy, whichever is longer,
and each kernel a little besides. Steps of the compute queue follow each other; copies run meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from netspec.contract.tensor import itemsize
from netspec.planning.identities import BETWEEN_PROCESSES, StepKey
from netspec.planning.plan import Step
from netspec.program.program import Program


@dataclass(frozen=True, slots=True)
class Gpu:
    """What was measured on a GPU: seconds, bytes and operations a second.

    ``copy`` is that of a large copy, read and written, ``upload`` from page-locked memory; ``kernel`` what a small
    kernel takes in a replayed graph, ``host`` what the host adds to an iteration. ``peak`` has the operations of a
    large matrix product by precision, ``plain`` those of plain kernels, and ``cost`` the units of ``Variant.cost``,
    summed over the products of a training. ``tuned`` is how much faster a network was with ``netspec tune``. ``errors``
    says by how much the model's time of an iteration was off at most, with one of the spec's devices on the GPU and
    with several, for the networks ``checked``: none where nothing was measured, see ``by_data_sheet``.
    """

    title: str
    capability: tuple[int, int]
    memory: int
    copy: float
    upload: float
    kernel: float
    host: float
    peak: Mapping[str, float]
    plain: float
    cost: Mapping[str, float]
    tuned: float = 1.0
    errors: tuple[float, float] | None = None
    checked: str = ""
    stored: float = 1.0
    """The share of what kernels on bfloat16 in memory estimate for themselves that they reach."""


@dataclass(frozen=True, slots=True)
class DataSheet:
    """What NVIDIA says of a GPU: GB/s of its memory and of PCIe one way, TFLOP/s in float32, tf32 and bf16, dense and
    summed in float32; ``warp``: the share of the latter two that mma.sync reaches."""

    memory: float
    upload: float
    peak: tuple[float, float, float]
    warp: float = 1.0


_H100 = Gpu(
    title="NVIDIA H100 80GB HBM3",
    capability=(9, 0),
    memory=79 << 30,
    copy=2.416e12,
    upload=54.6e9,
    kernel=1.6e-6,
    host=0.1e-3,
    peak={"float32": 51.0e12, "tf32": 359.5e12, "bf16": 769.5e12},
    plain=3.42e12,
    cost={"float32": 1.35e11, "tf32": 4.65e11, "bf16": 5.50e11},
    tuned=1.25,
    errors=(0.04, 0.15),
    checked="AlexNet and cifar10-quick",
)
_H100_SHEET = DataSheet(3350, 64, (66.9, 494.7, 989.4), 0.62)
_WARP_SHARE = 123 / 294
"""What products by mma.sync gave on an H100, in tf32, of what their machine code allows (docs/cuda.md). Those on
bfloat16 in memory, which no card has run, estimate what theirs allows."""


def by_data_sheet(title: str, capability: tuple[int, int], memory: int, sheet: DataSheet) -> Gpu:
    """A GPU that nothing was measured on: each rate is as large a share of its data sheet's as an H100's was."""
    peaks = dict(zip(_H100.peak, zip(sheet.peak, _H100_SHEET.peak, strict=True), strict=True))
    warps = {"float32": 1.0, "tf32": sheet.warp / _H100_SHEET.warp, "bf16": sheet.warp / _H100_SHEET.warp}
    return replace(
        _H100,
        title=title,
        capability=capability,
        memory=memory,
        copy=_H100.copy * sheet.memory / _H100_SHEET.memory,
        upload=_H100.upload * sheet.upload / _H100_SHEET.upload,
        peak={name: _H100.peak[name] * own / known for name, (own, known) in peaks.items()},
        plain=_H100.plain * sheet.peak[0] / _H100_SHEET.peak[0],
        cost={name: _H100.cost[name] * warps[name] * own / known for name, (own, known) in peaks.items()},
        tuned=1.0,
        errors=None,
        checked="",
        stored=1.0 if capability == _H100.capability else _WARP_SHARE,
    )


GPUS: Mapping[str, Gpu] = {
    "h100": _H100,
    "h200": by_data_sheet("H200 (SXM)", (9, 0), 140 << 30, replace(_H100_SHEET, memory=4800)),
    "a100": by_data_sheet("A100 80GB (SXM)", (8, 0), 79 << 30, DataSheet(2039, 32, (19.5, 156, 312))),
    "rtx3090": by_data_sheet("GeForce RTX 3090", (8, 6), 23 << 30, DataSheet(936, 32, (35.6, 35.6, 71.2))),
    "rtx4090": by_data_sheet("GeForce RTX 4090", (8, 9), 23 << 30, DataSheet(1008, 32, (82.6, 82.6, 165.2))),
    "rtx5090": by_data_sheet("GeForce RTX 5090", (12, 0), 31 << 30, DataSheet(1792, 64, (104.8, 104.8, 209.5))),
}
"""By name. The H100's figures are those of benchmarks/results/gpu-h100.json, of bfloat16 in memory gpu-h100-bf16.json:
rates of the steps of AlexNet on one device at batch 128, errors of whole iterations, of other batches, networks and
numbers of devices too; a test derives them again. The others' are of NVIDIA's data sheets and white papers."""


_PEAKS = {"float32": "float32", "tf32": "tf32", "bfloat16": "bf16"}
"""Names in ``Gpu.peak`` by a step's precision."""


def iteration_seconds(program: Program, gpu: Gpu) -> float:
    """What an iteration of the program takes where all its devices are one such GPU."""
    queues = defaultdict[str, float](float)
    for step in _recurring(program):
        queues[step.queue] += _seconds(program, step, gpu)
    return max(queues.values(), default=0.0) + gpu.host


def step_seconds(program: Program, gpu: Gpu) -> dict[StepKey, float]:
    """What each step takes on a GPU, but for those that run once and what goes between processes."""
    recurring = (step for step in _recurring(program) if step.op not in BETWEEN_PROCESSES)
    return {step.key: _seconds(program, step, gpu) for step in recurring}


def least_seconds(program: Program, gpu: Gpu, precision: str) -> float:
    """What it takes at least, whatever the kernels: the roofline (Williams, Waterman and Patterson 2009)."""
    steps = (step for step in _recurring(program) if step.queue == "compute")
    return sum(max(step.flops / gpu.peak[precision], step_bytes(program, step) / gpu.copy) for step in steps)


def layer_shares(program: Program, gpu: Gpu) -> dict[str, float]:
    """The share of the layers' time that each layer takes, the longest first."""
    found = defaultdict[str, float](float)
    for step in program.steps:
        if step.layer and step.op in ("forward", "backward"):
            found[step.layer] += _seconds(program, step, gpu)
    total = sum(found.values()) or 1.0
    longest = sorted(found.items(), key=lambda one: -one[1])
    return {name: seconds / total for name, seconds in longest}


def _recurring(program: Program) -> Iterator[Step]:
    """The steps that each iteration runs: not those all of which is marked to run once."""
    return (step for step in program.steps if not step.passes or not all(one.once for one in step.passes))


def step_bytes(program: Program, step: Step) -> int:
    """What a step must read and write: its tensors, or their parts, once each, workspace left out."""
    regions = {(region.buffer, region.axis, region.start, region.stop): region for region in step.args.values()}
    buffers = ((region, program.buffers[region.buffer]) for region in regions.values())
    return sum(
        prod(region.shape_in(buffer.shape)) * itemsize(buffer.dtype)
        for region, buffer in buffers
        if buffer.role != "workspace"
    )


def _seconds(program: Program, step: Step, gpu: Gpu) -> float:
    nbytes = step_bytes(program, step)
    if step.op in ("feed", "scalars"):
        return nbytes / gpu.upload
    return max(nbytes / gpu.copy, _work(program, step, gpu)) + gpu.kernel * max(len(step.passes), 1)


def _work(program: Program, step: Step, gpu: Gpu) -> float:
    """Seconds of its operations, where a variant estimates them or the plain kernels do them."""
    if step.op not in ("forward", "backward"):
        return 0.0
    shard = program.plan.by_place()[step.layer, step.device]
    name: str = step.attrs["variant"]
    for one in shard.instance.variants:
        if one.name == name and one.cost is not None:
            units = one.cost(shard.instance, shard.tensors, step.op, gpu.capability)
            # kernels on bfloat16 in memory estimate seconds, on an H100 as single kernels were timed there
            is_stored = shard.tensors.inputs[0].dtype == "bfloat16"
            least = step.flops / gpu.peak[_PEAKS[step.compute]]
            return max(least, units / gpu.stored if is_stored else units / gpu.cost[name.partition("_")[0]])
    return step.flops / gpu.plain if name == "plain" else 0.0
