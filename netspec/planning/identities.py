"""Identities: which tensor, which buffer, which step. Values that are compared and hashed, never taken apart.

Their texts are for people and for files and are made here alone. Layers and network inputs have fields of their own, so
that no name that a spec may give stands for something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from netspec.contract.kernel import Direction

Role = Literal[
    "input",  # what data hands over, uint8 images and int32 labels
    "resident",  # a data set that stays on the device, uint8 images
    "constant",  # what is known of the images: their mean, the components of their colours
    "activation",  # what layers read and write
    "saved",  # what forward leaves for backward beyond inputs and outputs
    "gradient",  # of activations
    "parameter",
    "shadow",  # of a parameter: its values in bfloat16, which products read
    "parameter gradient",
    "solver state",  # what the solver keeps beside a parameter: momentum
    "average",  # of a parameter over the updates so far
    "state",
    "next state",
    "scalar",  # counters and rates
    "flag",  # whether one gradient is finite
    "verdict",  # whether all gradients of a device are
    "overflow",  # whether an update gave numbers that are not finite
    "norm",  # sums of squares, and the factor that clips gradients
    "subtree",  # what several replicas of a batch gave, added up: gradients, next states, reports
    "report",  # sums that cost layers hand to the runner
    "workspace",
    "derived",  # what a Program makes of stored tensors once, until they change
]
STORED: tuple[Role, ...] = ("constant", "parameter", "solver state", "average", "state")
"""Roles whose buffers live in the Store and outlast an iteration; what has a name in checkpoints."""
SHARED: tuple[Role, ...] = (*STORED, "shadow", "resident")
"""Roles of the buffers that the programs of a Session share: those, what is made of them for all programs, images."""

Op = Literal[
    "scalars",
    "feed",
    "gather",
    "prepare",
    "shadow",
    "forward",
    "backward",
    "copy",
    "sum",
    "mean",
    "accumulate",
    "all_reduce",
    "send",
    "receive",
    "finite",
    "squares",
    "total",
    "clip",
    "agree",
    "scale",
    "update",
    "average",
    "commit",
]
BETWEEN_PROCESSES: tuple[Op, ...] = ("all_reduce", "send", "receive")
"""What moves values between the processes of a run, on the queue ``net``."""


@dataclass(frozen=True, slots=True)
class TensorKey:
    """A tensor as a whole, on however many devices it lies: a layer's, a network input's, or one that every device has.

    A network input itself has no ``tensor``. ``slot`` names what the solver keeps beside a parameter. The text is the
    name in checkpoints: ``conv1.weight``, ``conv1.weight.momentum``, ``conv1.weight.average``, ``image.mean``.
    """

    tensor: str = ""
    layer: str | None = None
    input: str | None = None
    slot: str = ""

    @property
    def parameter(self) -> TensorKey:
        """What the solver keeps this tensor beside; itself where it does not."""
        return replace(self, slot="")

    @property
    def owner(self) -> str | None:
        """The layer or the network input that it belongs to."""
        return self.layer or self.input

    def __str__(self) -> str:
        return self.text()

    def text(self, prefix: str = "") -> str:
        """The name, with a prefix before that of the tensor."""
        return ".".join(filter(None, (self.owner, self.tensor and prefix + self.tensor, self.slot)))


_PREFIXES: Mapping[Role, str] = {
    "gradient": "d_",
    "parameter gradient": "d_",
    "next state": "next_",
    "subtree": "sum_",
    "shadow": "bf16_",
}


@dataclass(frozen=True, slots=True)
class BufferKey:
    """What a buffer holds on a device: a tensor's values, its gradient, a scratch array of that name ...

    ``total``: the gradient summed over all readers of one buffer. ``index`` numbers the contributions to a gradient of
    the part that lies on ``shard``; they may come to lie on other devices; it is also the level of a subtree.
    ``direction`` tells workspaces apart. ``rows``: the first and the end of the batch's rows that it holds, or is the
    gradient of, where another buffer on the device has other rows of the same tensor.
    """

    of: TensorKey
    role: Role
    device: str
    total: bool = False
    index: int | None = None
    shard: str | None = None
    direction: Direction | None = None
    rows: tuple[int, int] | None = None

    def __hash__(self) -> int:
        """Of what mostly tells buffers apart: plans look them up more often than they do anything else."""
        return hash((self.of.tensor, self.of.layer, self.role, self.device))

    def __str__(self) -> str:
        if self.of.owner is None:
            return f"{self.device}.{self.of}"
        if self.direction is not None:
            return f"{self.of.owner}.{self.direction}@{self.device}:{self.of.tensor}"
        prefix = _PREFIXES.get(self.role, "")
        rows = "" if self.rows is None else f".rows{self.rows[0]}-{self.rows[1]}"
        text = f"{self.of.text(prefix)}@{self.shard or self.device}{'.total' if self.total else ''}{rows}"
        if self.index is None:
            return text
        if self.role == "subtree":
            return f"{text}.level{self.index}"
        return f"{text}.from{self.index}{'' if self.shard in (None, self.device) else f'@{self.device}'}"


@dataclass(frozen=True, slots=True)
class StepKey:
    """An operation of a device: of a layer or a network input, on a buffer (``target``), or of the device itself.

    ``index`` numbers those that fill parts of one buffer, or buckets of buffers. The text is what traces and messages
    show: ``conv3.forward@left``, ``fc6.x@left.fetch1``, ``conv1.weight@left.update``, ``scalars@left``.
    """

    op: Op
    device: str
    layer: str | None = None
    input: str | None = None
    target: BufferKey | None = None
    index: int | None = None

    def __str__(self) -> str:
        if self.target is not None:
            word = "fetch" if self.op == "copy" else self.op
            return f"{self.target}.{word}{'' if self.index is None else self.index}"
        owner, number = self.layer or self.input, "" if self.index is None else self.index
        return f"{owner}.{self.op}@{self.device}" if owner else f"{self.op}{number}@{self.device}"


def of_device(tensor: str, role: Role, device: str) -> BufferKey:
    """A buffer that each device has, whatever the layers: counters, rates, flags, verdicts."""
    return BufferKey(TensorKey(tensor), role, device)


def of_layer(layer: str, tensor: str, role: Role, device: str, direction: Direction | None = None) -> BufferKey:
    """A buffer of one layer on one device."""
    return BufferKey(TensorKey(tensor, layer=layer), role, device, direction=direction)
