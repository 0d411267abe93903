"""The Plan: steps and buffers as immutable, serialisable data. A Program is the same steps with passes and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from netspec.contract.kernel import Phase
from netspec.contract.tensor import Shape, itemsize

Kind = Literal[
    "input",  # what data hands over, uint8 images and int32 labels
    "constant",  # the mean image
    "activation",
    "saved",  # what forward leaves for backward beyond inputs and outputs
    "gradient",  # of activations
    "parameter",
    "parameter gradient",
    "momentum",
    "state",
    "next state",
    "scalar",  # counters and rates
    "flag",  # finite flags
    "report",  # sums that cost layers hand to the runner
    "workspace",
    "derived",  # what a Program makes of stored tensors once, until they change
]
STORED: tuple[Kind, ...] = ("constant", "parameter", "momentum", "state")
"""Kinds whose buffers live in the Store and outlast an iteration."""

Queue = Literal["compute", "copy"]
Op = Literal["scalars", "feed", "prepare", "forward", "backward", "copy", "sum", "finite", "agree", "update", "commit"]


@dataclass(frozen=True, slots=True)
class Logical:
    """Which part of a whole tensor a buffer holds: ``[start, stop)`` along ``axis`` (None: all of it)."""

    name: str
    shape: Shape
    axis: int | None = None
    start: int = 0
    stop: int = 0


@dataclass(frozen=True, slots=True)
class Buffer:
    """An array on one device."""

    name: str
    device: str
    shape: Shape
    dtype: str
    kind: Kind
    logical: Logical | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of storage."""
        return prod(self.shape) * itemsize(self.dtype)


@dataclass(frozen=True, slots=True)
class Region:
    """A buffer, or the part ``[start, stop)`` of it along one axis."""

    buffer: str
    axis: int | None = None
    start: int = 0
    stop: int = 0

    def meets(self, other: Region) -> bool:
        """Whether the two share an element, as far as axes tell."""
        if self.buffer != other.buffer:
            return False
        if self.axis is None or other.axis is None or self.axis != other.axis:
            return True
        return self.start < other.stop and other.start < self.stop


@dataclass(frozen=True, slots=True)
class Pass:
    """One kernel of a lowered step: its name, the step's arguments it takes in order, and how its work is cut.

    ``args`` pairs each kernel parameter with the name of a step argument, or None where ``scalars`` has its value.
    Arguments in ``flat`` are given as one axis; those in ``per_member`` have a leading axis for the team's members.
    Positions run along ``axes`` of ``over`` (None: all elements). ``then`` are passes fused into this one: each goes on
    with what a block has just written, or is the kernel's epilogue on a GPU. ``once``: it need not run again before
    what is stored has changed.
    """

    kernel: str
    variant: str
    args: tuple[tuple[str, str | None], ...]
    scalars: Mapping[str, int | float]
    writes: tuple[str, ...]
    extent: int
    block: int
    grid: tuple[int, ...]
    threads: tuple[int, ...]
    flat: tuple[str, ...]
    per_member: tuple[str, ...]
    host: bool
    dtype: str
    over: str = ""
    axes: tuple[int, ...] | None = None
    then: tuple[Pass, ...] = ()
    once: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One unit of work on one queue of one device.

    ``args`` maps argument names to regions; ``writes`` says which of them are written. ``after`` names the steps that
    must have finished, beside those before it on its own queue. ``bytes`` is what a copy between devices moves.
    """

    name: str
    op: Op
    device: str
    queue: Queue
    layer: str | None
    args: Mapping[str, Region]
    writes: tuple[str, ...]
    after: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    flops: int = 0
    bytes: int = 0
    passes: tuple[Pass, ...] = ()

    @property
    def accesses(self) -> tuple[tuple[Region, bool], ...]:
        """The regions it touches, each with whether it is written."""
        return tuple((region, name in self.writes) for name, region in self.args.items())


@dataclass(frozen=True, slots=True)
class Crossing:
    """A transfer between devices, told as the connection it serves: bytes one way for one batch."""

    layer: str
    source: str
    from_device: str
    to_device: str
    direction: Literal["forward", "backward"]
    bytes: int


@dataclass(frozen=True, slots=True)
class Edge:
    """One shard reading another's output, or a network input (whose device is then the reader's)."""

    source: str
    source_device: str
    target: str
    target_device: str
    shape: Shape
    crossing: bool


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One layer on one device: what ``info`` tells of it. Shapes are the device's own, batch included."""

    layer: str
    type: str
    device: str
    index: int
    count: int
    phase: Phase
    attrs: Mapping[str, Any]
    inputs: Mapping[str, Shape | None]
    outputs: Mapping[str, Shape]
    dtypes: Mapping[str, str]
    params: Mapping[str, Shape]
    parameters: int
    forward_flops: int
    backward_flops: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A Spec resolved for one phase and batch; made without a device, printable, serialisable.

    ``initial`` gives, by logical name, how a stored tensor starts: an initialiser with its fans, or a plain value.
    ``reports`` names the sums of each cost layer's report buffer. ``probs`` names the buffer predict reads: the last
    cost layer's.
    """

    name: str
    phase: Phase
    batch: int
    devices: tuple[str, ...]
    buffers: Mapping[str, Buffer]
    steps: tuple[Step, ...]
    shards: tuple[ShardInfo, ...]
    edges: tuple[Edge, ...]
    crossings: tuple[Crossing, ...]
    initial: Mapping[str, Mapping[str, Any]]
    reports: Mapping[str, tuple[str, ...]]
    probs: str | None

    def __repr__(self) -> str:
        layers, devices = len({shard.layer for shard in self.shards}), ", ".join(self.devices)
        return (
            f"Plan({self.name}, {self.phase}, batch {self.batch}: {layers} layers on {devices}; "
            f"{len(self.steps)} steps, {len(self.crossings)} crossings)"
        )

    def step(self, name: str) -> Step:
        """The step of that name; KeyError where there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)
