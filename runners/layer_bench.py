"""How long one layer takes on this machine: each direction and variant, beside the roofline and PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from netspec.check.single import layer_error, whole_keys
from netspec.check.subject import as_bfloat16
from netspec.contract.kernel import Backend, Direction
from netspec.contract.layer import Layer, Tensors
from netspec.contract.naming import COUNTERS, Argument
from netspec.contract.tensor import Tensor
from netspec.device.base import Array, Device
from netspec.device.binding import open_device, team_size
from netspec.device.gpus import fault, gpus, obstacle
from netspec.machine.blas_threads import one_blas_thread
from netspec.machine.cleanup import on_exit
from netspec.machine.roofline import Roof, measured
from netspec.planning.plan import Pass, make_layer
from netspec.planning.storage import storage_of, told
from netspec.program.choice import candidates
from netspec.program.gpu_model import GPUS
from netspec.program.passes import lower
from netspec.runners.torch_bench import NoPeer, Peer, torch_peer
from netspec.runners.tune import drawn_values, seconds_of
from netspec.spec.types import Precision, TrainSpec
from netspec.units import throughput

DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")
COPIED = 1 << 28
"""Bytes that a GPU copies to tell its bandwidth."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A direction's time with the kernels of a variant; the first variant of each is the one that a run takes.

    ``nbytes`` are those of its tensors, each read or written once, ``flops`` the operations that the layer declares.
    ``least_ms`` is what the machine allows, ``torch_ms`` PyTorch's time, None where there is none.
    """

    backend: Backend
    direction: Direction
    variant: str
    milliseconds: float
    nbytes: int
    flops: int
    least_ms: float
    torch_ms: float | None = None

    @property
    def share(self) -> float:
        """The least time over the time."""
        return self.least_ms / self.milliseconds


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """All times of a layer, and lines on what they were compared with, or why they were not."""

    rows: list[Timed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def bench(
    kind: str,
    attrs: Mapping[str, Any],
    inputs: Sequence[Tensor],
    backends: Sequence[Backend],
    precision: Precision = "tf32",
) -> LayerTimes:
    """Time a layer in training on each backend that is there. Raises NetspecError where the inputs do not fit.

    ``precision`` is what ``train.precision`` may be, and decides how inputs are stored as that does.
    """
    with layer_error(kind):
        layer, t = make_layer(kind, attrs, "train", inputs)
    found = LayerTimes()
    for backend in backends:
        if (reason := _absent(layer, backend)) is not None:
            found.notes.append(f"{backend}: {reason}")
            continue
        with ExitStack() as opened:
            name = f"{backend}:0"
            device = open_device(name, team_size(name, [name]))
            opened.enter_context(on_exit(device.close))
            found.notes.extend(told(precision, [device.capability]))
            if storage_of(precision, [device.capability]) == "bfloat16":
                with layer_error(kind):
                    stored = make_layer(kind, attrs, "train", as_bfloat16(type(layer), inputs))
                found.rows.extend(_timed(*stored, device, precision, found.notes))
                continue
            rows = _timed(layer, t, device, precision, found.notes)
            found.rows.extend(_beside_torch(layer, t, device, rows, found.notes))
    return found


def _absent(layer: Layer, backend: Backend) -> str | None:
    """Why a layer cannot be timed on a backend."""
    if backend not in {one for kernel in layer.kernels for one in kernel.backends}:
        return "the layer has no kernels for it"
    if backend == "cpu" or (gpus() and obstacle() is None):
        return None
    return obstacle() or fault() or "there is no GPU here, and the emulator that checks kernels says nothing of time"


def _timed(layer: Layer, t: Tensors, device: Device, precision: Precision, notes: list[str]) -> list[Timed]:
    roof, line = _roof(device)
    notes.append(f"{device.kind}: {line}")
    without = TrainSpec(precision=precision).without[device.kind]
    with one_blas_thread():
        return [
            _row(layer, t, device, direction, variant, roof(variant))
            for direction in DIRECTIONS
            for variant in candidates(layer, t, device.kind, direction, without, device.capability)
        ]


def _row(layer: Layer, t: Tensors, device: Device, direction: Direction, variant: str, roof: Roof) -> Timed:
    passes = lower(layer, t, device.kind, direction, variant, whole_keys(layer, t))
    with layer_error(layer.type):
        call = device.bind(passes, dict(_arrays(layer, t, device, passes, variant, direction)))
        call()
    seconds, nbytes, flops = seconds_of(device, call, math.inf), _bytes(t, passes), _flops(layer, t, direction)
    return Timed(device.kind, direction, variant, seconds * 1e3, nbytes, flops, roof.seconds(flops, nbytes) * 1e3)


def _arrays(
    layer: Layer, t: Tensors, device: Device, passes: Sequence[Pass], variant: str, direction: Direction
) -> Iterator[tuple[Argument, Array]]:
    """Random numbers for all that the passes take, and scratch memory."""
    spaces = layer.workspace(t, variant, direction)
    for one in dict.fromkeys(target for each in passes for _, target in each.args if target is not None):
        if one.tensor in spaces:
            space = spaces[one.tensor]
            members = (device.team_size,) if space.per == "member" else ()
            yield one, device.empty((*members, *space.shape), space.dtype)
            continue
        shape, dtype = ((2,), "int64") if one == COUNTERS else (t.of(one).shape, t.of(one).dtype)
        array, values = device.empty(shape, dtype), drawn_values(one, shape, dtype)
        if one == COUNTERS:
            values[1] = t.inputs[0].shape[0]
        device.upload(array, values)
        yield one, array


def _bytes(t: Tensors, passes: Sequence[Pass]) -> int:
    """What a direction must read and write: its tensors once each, scratch memory left out."""
    asked = {target for one in passes for _, target in one.args if target is not None and target.tensor in t.roles}
    return sum(t.of(one).nbytes for one in asked)


def _flops(layer: Layer, t: Tensors, direction: Direction) -> int:
    count = layer.flops(t)
    return count.forward if direction == "forward" else count.d_inputs + count.d_params


def _roof(device: Device) -> tuple[Callable[[str], Roof], str]:
    """The roofline of a device for a variant's kernels, and a line on it."""
    if device.kind == "cpu":
        roof = measured(device.team_size)
        return lambda variant: roof, f"{device.team_size} threads; a large product runs at {roof}: the bound"
    bandwidth, title = _copied(device), gpus()[0].name
    model = next((one for one in GPUS.values() if one.title == title), None)
    peak = model.peak if model else {}

    def of(variant: str) -> Roof:
        return Roof(peak.get(variant.partition("_")[0], peak.get("float32", math.inf)), bandwidth)

    known = "" if model else "; its rate of arithmetic is not known, so that bytes alone are the bound"
    return of, f"{title}; a large copy runs at {throughput(bandwidth)}{known}"


def _copied(device: Device) -> float:
    """Bytes a second that a device reads and writes in a large copy."""
    source, target = (device.empty((COPIED // 4,), "float32") for _ in range(2))
    call = device.copier(target, source, device, "compute")
    call()
    return 2 * COPIED / seconds_of(device, call, math.inf)


def _beside_torch(layer: Layer, t: Tensors, device: Device, rows: Sequence[Timed], notes: list[str]) -> list[Timed]:
    """The rows with PyTorch's times, where it has the layer."""
    precise = not any(row.variant.startswith(("tf32", "bf16")) for row in rows)
    try:
        peer: Peer = torch_peer(layer, t, device.kind, device.team_size, precise)
    except NoPeer as reason:
        notes.append(f"{device.kind}: no time of PyTorch's: {reason}")
        return list(rows)
    notes.append(f"{device.kind}: {peer.about}")
    return [replace(row, torch_ms=peer.milliseconds.get(row.direction)) for row in rows]
