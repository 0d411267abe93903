"""The Plan: steps and buffers as immutable, serialisable data. A Program is the same steps with passes and memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from netspec._shown import Pictured
from netspec.contract.kernel import Phase
from netspec.contract.layer import Layer, Tensors
from netspec.contract.naming import Argument
from netspec.contract.tensor import Shape, Tensor, itemsize
from netspec.contract.tensor_map import TensorMap
from netspec.planning.identities import BufferKey, Op, Role, StepKey, TensorKey
from netspec.planning.json_form import NOT_PLAIN
from netspec.registry import layer_types
from netspec.units import many

Queue = Literal["compute", "copy", "net"]
Traffic = Literal["forward", "backward", "update"]


@dataclass(frozen=True, slots=True)
class Logical:
    """Which part of a whole tensor a buffer holds: ``[start, stop)`` along ``axis`` (None: all of it)."""

    key: TensorKey
    shape: Shape
    axis: int | None = None
    start: int = 0
    stop: int = 0


@dataclass(frozen=True, slots=True)
class Buffer:
    """An array on one device."""

    key: BufferKey
    shape: Shape
    dtype: str
    logical: Logical | None = None

    @property
    def device(self) -> str:
        """Where it lies."""
        return self.key.device

    @property
    def role(self) -> Role:
        """What it is for."""
        return self.key.role

    @property
    def nbytes(self) -> int:
        """Bytes of storage."""
        return prod(self.shape) * itemsize(self.dtype)


@dataclass(frozen=True, slots=True)
class Region:
    """A buffer, or the part ``[start, stop)`` of it along one axis."""

    buffer: BufferKey
    axis: int | None = None
    start: int = 0
    stop: int = 0

    def shape_in(self, shape: Shape) -> Shape:
        """Its own shape in a buffer of that shape."""
        if self.axis is None:
            return shape
        return (*shape[: self.axis], self.stop - self.start, *shape[self.axis + 1 :])

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

    ``args`` pairs each kernel parameter with an argument of the step, or None where ``scalars`` has its value.
    Arguments in ``flat`` are given as one axis; those in ``per_member`` have a leading axis for the team's members.
    Positions run along ``axes`` of ``over`` (None: all elements). ``then`` are passes fused into this one: each goes on
    with what a block has just written, or is the kernel's epilogue on a GPU. ``once``: it need not run again before
    what is stored has changed. ``shared`` is a block's
    bytes of dynamic shared memory; ``maps`` has, by parameter, the tensor maps that it takes, each of the array that
    another parameter takes. ``per_replica`` is by how much its ``channel_offset`` grows from one replica of a batch to
    the next, so that random numbers are those of elements of the whole batch.
    """

    kernel: str
    variant: str
    args: tuple[tuple[str, Argument | None], ...]
    scalars: Mapping[str, int | float]
    writes: tuple[Argument, ...]
    extent: int
    block: int
    grid: tuple[int, ...]
    threads: tuple[int, ...]
    flat: tuple[Argument, ...]
    per_member: tuple[Argument, ...]
    host: bool
    dtype: str
    over: Argument | None = None
    axes: tuple[int, ...] | None = None
    then: tuple[Pass, ...] = ()
    once: bool = False
    per_replica: int = 0
    shared: int = 0
    maps: Mapping[str, TensorMap] = field(default_factory=dict)

    @property
    def bound(self) -> int:
        """The most threads of a block that its machine code is made for on CUDA; 0: any number."""
        return prod(self.threads) if self.shared else 0


@dataclass(frozen=True, slots=True)
class Step:
    """One unit of work on one queue of one device.

    ``args`` maps arguments to regions; ``writes`` says which of them are written. ``after`` names the steps that must
    have finished, beside those before it on its own queue. ``fused`` names those that run in it as well, in order.
    ``bytes`` is what a copy between devices moves. ``turns``: the turns of replicas in which it runs, none named: in
    all, see netspec.planning.replica_tree. ``compute`` is the precision of the factors of its products, which are
    summed in ``accumulate``; all other arithmetic is in float32.
    """

    key: StepKey
    queue: Queue
    args: Mapping[Argument, Region]
    writes: tuple[Argument, ...]
    after: tuple[StepKey, ...] = ()
    fused: tuple[StepKey, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    flops: int = 0
    bytes: int = 0
    passes: tuple[Pass, ...] = ()
    turns: tuple[int, ...] = ()
    compute: str = "float32"
    accumulate: str = "float32"

    @property
    def name(self) -> str:
        """Its name for people."""
        return str(self.key)

    @property
    def others(self) -> tuple[str, ...]:
        """What else runs in it, for people: layers, or the tensors that it checks or updates too."""
        return tuple(str(key.target or key.layer) for key in self.fused)

    @property
    def op(self) -> Op:
        """What it does."""
        return self.key.op

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.key.device

    @property
    def layer(self) -> str | None:
        """The layer whose work it is."""
        return self.key.layer

    @property
    def accesses(self) -> tuple[tuple[Region, bool], ...]:
        """The regions it touches, each with whether it is written."""
        return tuple((region, name in self.writes) for name, region in self.args.items())


@dataclass(frozen=True, slots=True)
class Crossing:
    """A transfer between devices, told as the connection it serves: bytes one way for one batch.

    Or as the parameter of a layer that is split by rows: its gradient goes to one device, and comes back updated.
    """

    layer: str
    source: TensorKey
    from_device: str
    to_device: str
    direction: Traffic
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
    """One layer on one device: what ``info`` tells of it, and its instance. Shapes are the device's own.

    ``within``: the frames that pictures draw round it, the outermost first.
    ``copied``: it has other rows of the batch than the layer's first device, whose parameters and channels it has too.
    """

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
    copied: bool
    within: tuple[str, ...]
    instance: Layer = field(compare=False, repr=False, metadata=NOT_PLAIN)
    tensors: Tensors = field(compare=False, repr=False, metadata=NOT_PLAIN)

    @classmethod
    def restored(cls, **values: Any) -> ShardInfo:
        """The shard of these values, which have been through JSON."""
        inputs = [shape and Tensor(shape, values["dtypes"][name]) for name, shape in values["inputs"].items()]
        instance, tensors = make_layer(values["type"], values["attrs"], values["phase"], inputs)
        return cls(**values, instance=instance, tensors=tensors)


@dataclass(frozen=True, slots=True)
class Plan(Pictured):
    """A Spec resolved for one phase and batch; made without a device, printable, serialisable.

    ``initial`` gives for each stored tensor how it starts: an initialiser with its fans, or a plain value. ``reports``
    names the sums of each cost layer's report. ``answer`` is what predict reads, the last cost layer's, and ``numbers``
    says that these are no scores of classes. ``rated`` are the parameters whose rates the schedule may set apart, see
    netspec.planning.rates. A training batch is cut into ``replicas``, of ``batch`` images each; of as many
    ``processes`` each works a run of them. ``storage`` is the dtype of images, activations and their gradients.
    ``ranks`` has, where they lie in several processes, that of each device, see netspec.planning.rank_cut.
    """

    name: str
    phase: Phase
    batch: int
    devices: tuple[str, ...]
    buffers: Mapping[BufferKey, Buffer]
    steps: tuple[Step, ...]
    shards: tuple[ShardInfo, ...]
    edges: tuple[Edge, ...]
    crossings: tuple[Crossing, ...]
    initial: Mapping[TensorKey, Mapping[str, Any]]
    reports: Mapping[BufferKey, tuple[str, ...]]
    answer: BufferKey | None
    rated: tuple[TensorKey, ...] = ()
    numbers: bool = False
    replicas: int = 1
    processes: int = 1
    storage: str = "float32"
    ranks: tuple[int, ...] = ()

    def __repr__(self) -> str:
        layers, devices = len({shard.layer for shard in self.shards}), ", ".join(self.devices)
        return (
            f"Plan({self.name}, {self.phase}, {self.images}: {many(layers, 'layer')} on {devices}; "
            f"{many(len(self.steps), 'step')}, {many(len(self.crossings), 'crossing')})"
        )

    @property
    def images(self) -> str:
        """How many images an iteration takes, for people."""
        if self.replicas == 1:
            return f"batch {self.batch}"
        return f"batch {self.batch * self.replicas} in {self.replicas} replicas of {self.batch}"

    def by_place(self) -> dict[tuple[str | None, str], ShardInfo]:
        """The shards by layer and device."""
        return {(shard.layer, shard.device): shard for shard in self.shards}

    def keys(self, *roles: Role) -> tuple[BufferKey, ...]:
        """The buffers of these roles."""
        return tuple(key for key in self.buffers if key.role in roles)


def make_layer(
    type: str, attrs: Mapping[str, Any], phase: Phase, inputs: Sequence[Tensor | None]
) -> tuple[Layer, Tensors]:
    """A layer of a registered type, and its tensors for these inputs. Raises LayerError where they do not fit."""
    layer: Layer = layer_types()[type](attrs, phase)
    t = layer.tensors(inputs)
    layer.given = t.names("input") if layer.mixed else ()
    return layer, t


MakeLayer = Callable[[str, Mapping[str, Any], Phase, Sequence[Tensor | None]], tuple[Layer, Tensors]]


def make_once() -> MakeLayer:
    """``make_layer``, but layers that are alike are one: for checks of many specs, which keep and change none."""
    types, made = layer_types(), dict[Any, tuple[Layer, Tensors]]()

    def make(
        type: str, attrs: Mapping[str, Any], phase: Phase, inputs: Sequence[Tensor | None]
    ) -> tuple[Layer, Tensors]:
        key = types[type], repr(attrs), phase, tuple(inputs)
        if key not in made:
            made[key] = make_layer(type, attrs, phase, inputs)
        return made[key]

    return make
