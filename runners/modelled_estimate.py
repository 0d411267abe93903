"""How long a training would take on a GPU that need not be here, from its plan and a cost model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import prod

from netspec.contract.kernel import Phase
from netspec.contract.tensor import itemsize
from netspec.planning import build, check
from netspec.planning.identities import STORED
from netspec.planning.plan import Plan
from netspec.planning.storage import storage_of
from netspec.planning.trainable import drawn_images
from netspec.program import lower, memory
from netspec.program.gpu_model import GPUS, Gpu, iteration_seconds, layer_shares, least_seconds
from netspec.program.program import Program
from netspec.registry import load_plugin
from netspec.runners.estimate import Estimate
from netspec.runners.training.follow_data import open_images
from netspec.runners.training.request import Request, settle
from netspec.spec.class_counts import settled
from netspec.spec.types import Precision, Spec

_GAIN = 1.03
"""How much faster a training must be with a change for it to be told: less is within the model's error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of the spec, as ``--set`` takes it, and how many times as fast training is with it."""

    set: str
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelled(Estimate):
    """What the model says: ``error`` is its measured error for the networks ``checked``, None in float32,
    whose kernels were not measured, and for GPUs on which nothing was, where ``checked`` is ""; ``most`` is the rate
    that no kernels could exceed.

    ``room`` has the bytes of the GPU, on which all of the spec's devices lie; ``dearest`` are shares of time.
    """

    gpu: str
    error: float | None
    checked: str
    most: float
    room: int
    tuned: float
    changes: tuple[Change, ...]

    @property
    def fits(self) -> bool:
        """Whether the GPU has the memory."""
        return sum(self.memory.values()) <= self.room


def modelled(request: Request, name: str, images: int | None, val_images: int | None) -> Modelled:
    """Estimate a training on the GPU of that name by a cost model; no device is opened, images only to be counted.

    Raises NetspecError and SpecError as a run would.
    """
    gpu = GPUS[name]
    for plugin in request.binding.plugins:
        load_plugin(plugin)
    spec = settle(request, None).spec
    check(spec)
    spec, counted, where = _counted(spec, request, images)
    train, evaluation = programs = _programs(spec, gpu)
    wanted = counted[1] if val_images is None else val_images
    rate, precision = _rate(train, spec, gpu), spec.train.precision
    return Modelled(
        name=spec.name,
        devices=spec.devices,
        batch=spec.train.batch,
        rate=rate,
        eval_rate=spec.replica_batch / iteration_seconds(evaluation, gpu) if wanted else 0.0,
        images=images or counted[0],
        val_images=wanted,
        epochs=spec.train.epochs,
        where=where,
        memory={device: row["total"] for device, row in memory(programs).items()},
        checkpoint=_stored(train),
        dearest=tuple(islice(layer_shares(train, gpu).items(), 3)),
        gpu=gpu.title,
        error=gpu.errors[len(spec.devices) > 1] if gpu.errors and precision != "float32" else None,
        checked=gpu.checked,
        most=spec.replica_batch / least_seconds(train, gpu, precision),
        room=gpu.memory,
        tuned=gpu.tuned,
        changes=tuple(sorted(_changes(spec, gpu, images or counted[0], rate), key=lambda one: -one.factor)),
    )


def _counted(spec: Spec, request: Request, images: int | None) -> tuple[Spec, tuple[int, int], str]:
    """The spec, how many images it trains and validates with, and where they are; read only where nobody says so."""
    drawn, kind = drawn_images(spec), spec.data.source["type"]
    if drawn is not None:
        return settled(spec), (drawn.train, drawn.val), drawn.where
    if images is not None and request.data is None:
        return settled(spec), (images, 0), f"{kind}, not looked at"
    opened = open_images(spec, own=request.data is not None)
    return opened.spec, (len(opened.source.train), len(opened.source.val or ())), opened.source.where


def _programs(spec: Spec, gpu: Gpu) -> tuple[Program, Program]:
    """Those of a run: training and evaluation."""
    return _lowered(spec, gpu, "train"), _lowered(spec, gpu, "eval")


def _lowered(spec: Spec, gpu: Gpu, phase: Phase) -> Program:
    return on_gpu(build(spec, phase, storage=storage_of(spec.train.precision, [gpu.capability])), spec, gpu)


def on_gpu(plan: Plan, spec: Spec, gpu: Gpu) -> Program:
    """A plan of the spec, or a rank's part of it, lowered for devices that are all such a GPU."""
    return lower(
        plan,
        dict.fromkeys(plan.devices, "cuda"),
        dict.fromkeys(plan.devices, 1),
        without=spec.train.without,
        fused=spec.train.fuse,
        capabilities=dict.fromkeys(plan.devices, gpu.capability),
    )


def _rate(train: Program, spec: Spec, gpu: Gpu) -> float:
    """Images a second; of each replica as if it had an update of its own."""
    return spec.replica_batch / iteration_seconds(train, gpu)


def _stored(program: Program) -> int:
    """Bytes of a checkpoint's tensors."""
    whole = {one.logical.key: one for one in program.plan.buffers.values() if one.role in STORED and one.logical}
    return sum(prod(one.logical.shape) * itemsize(one.dtype) for one in whole.values() if one.logical)


def _changes(spec: Spec, gpu: Gpu, images: int, now: float) -> Iterator[Change]:
    """What would be faster than ``now`` by the model: other precisions of the products, a batch of twice the size."""
    train = spec.train
    precisions: tuple[Precision, ...] = ("tf32", "bf16")
    others = [(f"train.precision={one}", replace(train, precision=one)) for one in precisions]
    if 2 * train.batch <= images:
        others.append((f"train.batch={2 * train.batch}", replace(train, batch=2 * train.batch)))
    for text, changed in others:
        other = replace(spec, train=changed)
        programs = _programs(other, gpu)
        factor = _rate(programs[0], other, gpu) / now
        fits = sum(row["total"] for row in memory(programs).values()) <= gpu.memory
        if fits and factor >= _GAIN:
            yield Change(set=text, factor=factor)
