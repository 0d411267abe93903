"""The mutable state while a plan is made: buffers, steps, crossings, and the forward half of an iteration."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from netspec.contract.kernel import Direction
from netspec.contract.layer import Layer
from netspec.contract.naming import canonical, tensor_of
from netspec.contract.tensor import Shape, Tensor
from netspec.planning.connect import fail
from netspec.planning.network import Network
from netspec.planning.order import StepList
from netspec.planning.plan import Buffer, Crossing, Edge, Kind, Logical, Op, Queue, Region, Step
from netspec.planning.shards import Gather, Part, Piece, Shard

Alias = tuple[str, int, int]
"""A logical layer, the first of its channels that a layer of another spec holds, and how many it has in all."""


class Builder:
    """Collects what a Plan consists of."""

    def __init__(self, network: Network, names: Mapping[str, Alias]) -> None:
        self.network, self.names = network, names
        self.buffers: dict[str, Buffer] = {}
        self.order = StepList()
        self.crossings: list[Crossing] = []
        self.edges: list[Edge] = []
        self.initial: dict[str, Mapping[str, Any]] = {}
        self.latest: dict[str, str] = {}
        """State buffer -> the buffer with the value that the last layer so far, of those that share it, gives it."""

    # Buffers --------------------------------------------------------------------------------------------------------

    def buffer(
        self, name: str, device: str, shape: Shape, dtype: str, kind: Kind, logical: Logical | None = None
    ) -> Region:
        """Add a buffer once; gives the region that is all of it."""
        self.buffers.setdefault(name, Buffer(name, device, shape, dtype, kind, logical))
        return Region(name)

    def step(
        self,
        name: str,
        op: Op,
        device: str,
        args: Mapping[str, Region],
        writes: tuple[str, ...],
        *,
        queue: Queue = "compute",
        layer: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        flops: int = 0,
        nbytes: int = 0,
    ) -> None:
        """Append a step."""
        self.order.add(
            Step(name, op, device, queue, layer, dict(args), writes, attrs=dict(attrs or {}), flops=flops, bytes=nbytes)
        )

    # Inputs of an iteration -----------------------------------------------------------------------------------------

    def inputs(self) -> None:
        """Scalars on every device, then each network input on every device that reads it."""
        spec = self.network.spec
        for device in spec.devices:
            args = {"counters": self.buffer(f"counters@{device}", device, (2,), "int64", "scalar")}
            if self.network.phase == "train":
                args["rates"] = self.buffer(f"rates@{device}", device, (3,), "float32", "scalar")
            self.step(f"scalars@{device}", "scalars", device, args, tuple(args))
        for name, outputs in self.network.values.items():
            value = outputs.get("")
            for part in value.parts if value else ():
                if part.device:
                    self._feed(name, part)

    def _feed(self, name: str, part: Part) -> None:
        tensor, device = part.tensor, part.device
        is_image = tensor.dtype == "float32" and len(tensor.shape) == 4
        if not is_image:
            target = self.buffer(part.buffer, device, tensor.shape, tensor.dtype, "input")
            self.step(f"{name}.feed@{device}", "feed", device, {"target": target}, ("target",), queue="copy")
            return
        raw = self.buffer(f"{name}.uint8@{device}", device, tensor.shape, "uint8", "input")
        shape = tensor.shape[1:]
        mean_name = f"{name}.mean"
        mean = self.buffer(f"{mean_name}@{device}", device, shape, "float32", "constant", Logical(mean_name, shape))
        self.initial.setdefault(mean_name, {"type": "constant", "value": 0.0})
        image = self.buffer(part.buffer, device, tensor.shape, tensor.dtype, "activation")
        self.step(f"{name}.feed@{device}", "feed", device, {"target": raw}, ("target",), queue="copy")
        self.step(
            f"{name}.prepare@{device}",
            "prepare",
            device,
            {"raw": raw, "mean": mean, "image": image},
            ("image",),
            attrs={"scale": self.network.spec.data.scale},
        )

    # Forward --------------------------------------------------------------------------------------------------------

    def forward(self, shard: Shard) -> None:
        """Gather the shard's inputs, allocate what it writes and append its forward step."""
        for gather in dict.fromkeys(id(g) for g in shard.gathers.values()):
            self._gather(shard, next(g for g in shard.gathers.values() if id(g) == gather))
        self._parameters(shard)
        for name, part in shard.outputs.items():
            kind: Kind = "report" if name == "report" else "activation"
            self.buffer(part.buffer, shard.device, part.tensor.shape, part.tensor.dtype, kind)
        args, writes = self.arguments(shard, "forward")
        self.latest |= {shard.params[name[5:]]: args[name].buffer for name in writes if name.startswith("next_")}
        self.step(
            f"{shard.spec.name}.forward@{shard.device}",
            "forward",
            shard.device,
            args,
            writes,
            layer=shard.spec.name,
            attrs=self.keys(shard),
            flops=shard.layer.flops(shard.t).forward,
        )

    def _gather(self, shard: Shard, gather: Gather) -> None:
        for piece in gather.pieces:
            part = piece.part
            crossing = part.device != gather.device
            source, _, device = part.buffer.partition("@")
            layer, reader = source.partition(".")[0], shard.spec.name
            edge = Edge(layer, device or part.device, reader, shard.device, part.tensor.shape, crossing)
            if edge not in self.edges:
                self.edges.append(edge)
        if gather.alias or gather.buffer in self.buffers:
            return
        tensor = gather.tensor
        self.buffer(gather.buffer, gather.device, tensor.shape, tensor.dtype, "activation")
        offset = 0
        for number, piece in enumerate(gather.pieces):
            target = channels(gather.buffer, tensor, offset, offset + piece.channels)
            self._fetch(shard, gather, piece, target, number)
            offset += piece.channels

    def _fetch(self, shard: Shard, gather: Gather, piece: Piece, target: Region, number: int) -> None:
        part = piece.part
        source = channels(part.buffer, part.tensor, piece.start, piece.stop)
        nbytes = part.tensor.nbytes // part.tensor.shape[-1] * piece.channels
        self.copy(f"{gather.buffer}.fetch{number}", part.device, gather.device, source, target, nbytes)
        if part.device != gather.device:
            name = part.buffer.partition("@")[0]
            self.crossings.append(Crossing(shard.spec.name, name, part.device, gather.device, "forward", nbytes))

    def copy(self, name: str, from_device: str, to_device: str, source: Region, target: Region, nbytes: int) -> None:
        """A copy step: on the receiving device's copy queue where it crosses, else in the compute queue."""
        crossing = from_device != to_device
        self.step(
            name,
            "copy",
            to_device,
            {"source": source, "target": target},
            ("target",),
            queue="copy" if crossing else "compute",
            nbytes=nbytes if crossing else 0,
            attrs={"from": from_device} if crossing else {},
        )

    def _parameters(self, shard: Shard) -> None:
        spec = shard.spec
        if spec.share is not None:
            owner = self._shared(shard)
            shard.params, shard.owner = owner.params, owner.spec
            shard.renewed = {name: self.latest[own] for name, own in owner.params.items() if own in self.latest}
            return
        inputs = shard.inputs
        # Where all shards read the whole input, each of its channels reaches the filters of all of them.
        readers = shard.count // shard.ways if shard.spec.split == "channels" else 1
        for name, one in shard.layer.params(*inputs).items():
            fans = {"fan_in": one.fan_in, "fan_out": one.fan_out * readers}
            self._stored(shard, name, one.shape, one.dtype, one.axis, "parameter", {**one.init, **fans})
        for name, state in shard.layer.state(*inputs).items():
            start = {"type": "constant", "value": state.init}
            self._stored(shard, name, state.shape, state.dtype, state.axis, "state", start)

    def _shared(self, shard: Shard) -> Shard:
        """The shard on the same device of the layer whose parameters this one shares."""
        name = shard.spec.share
        owners = [s for group in self.network.shards for s in group if s.spec.name == name]
        if tuple(owner.device for owner in owners) != shard.spec.devices:
            places = " and ".join(owner.device for owner in owners)
            raise fail(
                shard.spec.mark_of("share"),
                f"{shard.spec.name}: '{name}' lies on {places}; shared parameters must lie on the same devices",
            )
        owner = owners[shard.index]
        ours, theirs = (_stored_shapes(side) for side in (shard, owner))
        for key in ours.keys() | theirs.keys():
            if ours.get(key) != theirs.get(key):
                raise fail(
                    shard.spec.mark_of("share"),
                    f"{shard.spec.name}: '{key}' has shape {ours.get(key)} here and {theirs.get(key)} in '{name}'; "
                    "shared parameters must have one shape",
                )
        return owner

    def _stored(
        self, shard: Shard, name: str, shape: Shape, dtype: str, axis: int | None, kind: Kind, init: Mapping[str, Any]
    ) -> None:
        logical = self.logical(shard, name, shape, axis)
        buffer = f"{shard.spec.name}.{name}@{shard.device}"
        shard.params[name] = self.buffer(buffer, shard.device, shape, dtype, kind, logical).buffer
        self.initial.setdefault(logical.name, init)

    def logical(self, shard: Shard, name: str, shape: Shape, axis: int | None) -> Logical:
        """Where a shard's tensor lies in the whole one, under the name it has in checkpoints."""
        layer, first, total = self.names.get(shard.spec.name, (shard.spec.name, 0, 0))
        parts = shard.count if shard.spec.split == "channels" else 1
        if axis is None or (parts == 1 and not total):
            return Logical(f"{layer}.{name}", shape)
        axis %= len(shape)
        width = shape[axis]
        channels_here = next(iter(shard.outputs.values())).tensor.shape[-1]
        scale = width / channels_here
        start = round(first * scale) + shard.index * width
        whole = round(total * scale) if total else width * parts
        return Logical(f"{layer}.{name}", (*shape[:axis], whole, *shape[axis + 1 :]), axis, start, start + width)

    # Arguments ------------------------------------------------------------------------------------------------------

    def keys(self, shard: Shard) -> dict[str, Any]:
        """The key of the shard's random numbers: logical name, first channel and channels of the whole."""
        part = next(iter(shard.outputs.values()))
        layer, first, total = self.names.get(shard.spec.name, (shard.spec.name, 0, 0))
        width = part.tensor.shape[-1]
        parts = shard.count if shard.spec.split == "channels" else 1
        return {
            "key": layer,
            "channel_offset": first + (part.start if parts > 1 else 0),
            "channel_count": total or width * parts,
        }

    def arguments(self, shard: Shard, direction: Direction) -> tuple[dict[str, Region], tuple[str, ...]]:
        """Every tensor that some kernel of the direction names, as a region; and those that are written.

        Kernels of all backends count: the Program, which knows the backend, keeps what its kernels take.
        """
        reads, writes = named(shard, direction)
        args = {}
        for name in (*reads, *writes):
            region = self._argument(shard, name)
            if region is not None:
                args[name] = region
        return args, tuple(name for name in writes if name in args)

    def _argument(self, shard: Shard, name: str) -> Region | None:
        if name == "counters":
            return Region(f"counters@{shard.device}")
        if name in shard.gathers:
            return Region(shard.gathers[name].buffer)
        if name in shard.outputs:
            return Region(shard.outputs[name].buffer)
        if name in shard.params:
            return Region(shard.renewed.get(name, shard.params[name]))
        if name.startswith("next_") and name[5:] in shard.params:
            return self._made(shard, name, "next state")
        if name in vars(shard.t):
            return self._made(shard, name, "saved")
        return None

    def _made(self, shard: Shard, name: str, kind: Kind) -> Region:
        tensor = tensor_of(name, vars(shard.t))
        return self.buffer(f"{shard.spec.name}.{name}@{shard.device}", shard.device, tensor.shape, tensor.dtype, kind)


def channels(buffer: str, tensor: Tensor, start: int, stop: int) -> Region:
    """A channel range of a buffer; the whole of it where the range is all channels."""
    if (start, stop) == (0, tensor.shape[-1]):
        return Region(buffer)
    return Region(buffer, len(tensor.shape) - 1, start, stop)


Names = tuple[tuple[str, ...], tuple[str, ...]]


def named(shard: Shard, direction: Direction) -> Names:
    """Names of tensors that the direction's kernels read and write, over all backends and variants."""
    layer, cls = shard.layer, type(shard.layer)
    attrs = vars(layer.attrs)
    applying = tuple(
        number
        for number, kernel in enumerate(cls.kernels)
        if kernel.direction == direction and kernel.applies(attrs, layer.phase)
    )
    tensors = tuple(name for name, value in vars(shard.t).items() if isinstance(value, Tensor))
    return _named(cls, applying, tensors, len(shard.t.inputs))  # type: ignore[arg-type]  # a class can be hashed


@functools.cache
def _named(cls: type[Layer], applying: tuple[int, ...], tensors: tuple[str, ...], inputs: int) -> Names:
    reads: dict[str, None] = {}
    writes: dict[str, None] = {}
    known = dict.fromkeys(tensors)
    for kernel in (cls.kernels[number] for number in applying):
        for index in range(inputs) if kernel.each else (None,):
            for target, group in ((reads, kernel.args), (writes, kernel.writes)):
                target.update(dict.fromkeys(canonical(name, known, kernel.each, index) for name in group))
    return tuple(name for name in reads if name not in writes), tuple(writes)


def _stored_shapes(shard: Shard) -> dict[str, Shape]:
    """Shapes of a shard's parameters and state."""
    params = {name: one.shape for name, one in shard.layer.params(*shard.inputs).items()}
    return {**params, **{name: one.shape for name, one in shard.layer.state(*shard.inputs).items()}}
