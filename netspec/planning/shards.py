"""Values and shards: where every tensor of the network lies and which layer instance makes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from netspec.contract.layer import Layer, Tensors
from netspec.contract.tensor import Tensor
from netspec.planning.identities import BufferKey, TensorKey
from netspec.spec.types import LayerSpec

Layout = Literal["whole", "split", "rows", "replicated", "everywhere"]
"""On one device; cut along channels over several; cut along rows; the same on several; a network input, on every device
that reads."""


class Rows(NamedTuple):
    """Rows ``[start, stop)`` of a batch."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one device holds of a value: a buffer with channels ``[start, stop)`` of the whole, rows from ``row`` on."""

    key: BufferKey
    tensor: Tensor
    start: int
    stop: int
    row: int = 0

    @property
    def rows(self) -> Rows:
        """Its rows of the batch."""
        return Rows(self.row, self.row + self.tensor.shape[0])

    @property
    def device(self) -> str:
        """Where it lies."""
        return self.key.device


@dataclass(frozen=True, slots=True)
class Value:
    """A layer's output or a network input as a logical tensor, its parts in device order."""

    key: TensorKey
    layout: Layout
    parts: tuple[Part, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices that hold a part."""
        return tuple(part.device for part in self.parts)

    @property
    def ways(self) -> int:
        """Over how many devices the channels are cut."""
        return len(self.parts) if self.layout == "split" else 1

    def on(self, device: str) -> Part:
        """The part that lies on a device; KeyError where none does."""
        for part in self.parts:
            if part.device == device:
                return part
        raise KeyError(device)


@dataclass(frozen=True, slots=True)
class Piece:
    """Channels ``[start, stop)`` of a part's buffer, as a reader takes them."""

    part: Part
    start: int
    stop: int

    @property
    def channels(self) -> int:
        """How many channels the piece has."""
        return self.stop - self.start


@dataclass(slots=True)
class Gather:
    """An input as one reader's device sees it: pieces joined along channels; one whole local piece is no copy."""

    pieces: tuple[Piece, ...]
    key: BufferKey
    tensor: Tensor

    @property
    def device(self) -> str:
        """Where it lies."""
        return self.key.device

    @property
    def alias(self) -> bool:
        """Whether the reader reads the producer's own buffer."""
        return len(self.pieces) == 1 and self.pieces[0].part.key == self.key


@dataclass(slots=True)
class Shard:
    """One layer on one device: its instance, its inputs as gathered, and its tensors."""

    spec: LayerSpec
    device: str
    index: int
    count: int
    layer: Layer
    gathers: dict[str, Gather]
    t: Tensors
    ways: int = 1
    """Over how many devices its inputs are cut where each shard reads its own part; 1 where it reads the whole."""
    outputs: dict[str, Part] = field(default_factory=dict)
    params: dict[str, BufferKey] = field(default_factory=dict)
    """Parameter and state names -> buffers; a sharing layer's are those of the layer it shares with."""
    owner: LayerSpec | None = None
    """The layer it shares with, whose multipliers hold for both."""
    renewed: dict[str, BufferKey] = field(default_factory=dict)
    """State names -> buffers with the values that layers before it, of the same state, have given it."""

    @property
    def inputs(self) -> Any:
        """The input tensors in the order of the shape rule, None for an absent optional one."""
        names = self.layer.input_names(len(self.gathers))
        return [self.gathers[name].tensor if name in self.gathers else None for name in names]
