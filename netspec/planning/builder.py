"""The mutable state while a plan is made: buffers, steps, crossings, and the forward half of an iteration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from netspec.contract.augmentation import PLACE
from netspec.contract.kernel import Direction
from netspec.contract.naming import COUNTERS, Argument
from netspec.contract.tensor import Param, Shape, State, Tensor
from netspec.data.augment import tint_of
from netspec.planning import shadows
from netspec.planning.connect import by_rows, fail
from netspec.planning.identities import BufferKey, Role, StepKey, TensorKey, of_device, of_layer
from netspec.planning.kernel_arguments import named
from netspec.planning.network import Network, is_image
from netspec.planning.order import SerialSteps, StepList
from netspec.planning.plan import Buffer, Crossing, Edge, Logical, Queue, Region, Step, Traffic
from netspec.planning.rates import rate_table, trainable
from netspec.planning.row_exchange import Exchange, Move
from netspec.planning.row_parameters import Copies
from netspec.planning.shards import Gather, Part, Piece, Shard

Alias = tuple[str, int, int]
"""A logical layer, the first of its channels that a layer of another spec holds, and how many it has in all."""


class Builder:
    """Collects what a Plan consists of; ``ordered``: with what each step must wait for."""

    def __init__(self, network: Network, names: Mapping[str, Alias], ordered: bool = True) -> None:
        self.network, self.names = network, names
        self.buffers: dict[BufferKey, Buffer] = {}
        self.order = StepList() if ordered else SerialSteps()
        self.crossings: list[Crossing] = []
        self.edges: dict[Edge, None] = {}
        self.initial: dict[TensorKey, Mapping[str, Any]] = {}
        self.rates = rate_table(network)
        self.turns: tuple[int, ...] = ()
        """The turns of replicas in which what is appended from now on runs; none named: in all."""
        self.latest: dict[BufferKey, BufferKey] = {}
        """State buffer -> the buffer with the value that the last layer so far, of those that share it, gives it."""
        self.copies = Copies()

    # Buffers --------------------------------------------------------------------------------------------------------

    def declare(self, key: BufferKey, shape: Shape, dtype: str, logical: Logical | None = None) -> Region:
        """Add a buffer; gives the region that is all of it. Raises ValueError for a second one of that identity."""
        if key in self.buffers:
            raise ValueError(f"the buffer '{key}' ({key.role}) is in the plan already")
        self.buffers[key] = Buffer(key, shape, dtype, logical)
        return Region(key)

    def step(
        self,
        key: StepKey,
        args: Mapping[Argument, Region],
        writes: tuple[Argument, ...],
        *,
        queue: Queue = "compute",
        attrs: Mapping[str, Any] | None = None,
        flops: int = 0,
        nbytes: int = 0,
        **dtypes: str,
    ) -> None:
        """Append a step; ``dtypes`` are ``compute`` and ``accumulate`` where they are not float32."""
        more: dict[str, Any] = {"attrs": dict(attrs or {}), "flops": flops, "bytes": nbytes, "turns": self.turns}
        self.order.add(Step(key, queue, dict(args), writes, **more | dtypes))

    def operation(self, key: StepKey, writes: str | tuple[str, ...], args: Mapping[str, Region], **more: Any) -> None:
        """Append a step that is no layer's; arguments are called as its kernels call them."""
        written = (writes,) if isinstance(writes, str) else writes
        self.step(key, {Argument(name): region for name, region in args.items()}, tuple(map(Argument, written)), **more)

    # Inputs of an iteration -----------------------------------------------------------------------------------------

    def inputs(self) -> None:
        """Scalars on every device, then each network input on every device that reads it."""
        for device in self.network.spec.devices:
            args = {COUNTERS: self.declare(of_device("counters", "scalar", device), (2,), "int64")}
            if self.network.phase == "train":
                rates = of_device("rates", "scalar", device)
                args[Argument("rates")] = self.declare(rates, (self.rates.size,), "float32")
            self.step(StepKey("scalars", device), args, tuple(args))
        for part in self.network.inputs():
            self._feed(part)

    def _feed(self, part: Part) -> None:
        tensor, device, name = part.tensor, part.device, part.key.of.input
        assert name is not None
        feed = StepKey("feed", device, target=part.key) if part.key.of.tensor else StepKey("feed", device, input=name)
        if not is_image(tensor):
            target = self.declare(part.key, tensor.shape, tensor.dtype)
            self._fed(feed, target, part)
            return
        held = self.network.resident.get(name)
        role: Role = "input" if held is None else "activation"
        raw = self.declare(BufferKey(TensorKey("uint8", input=name), role, device), tensor.shape, "uint8")
        whole, shape = TensorKey("mean", input=name), tensor.shape[1:]
        mean = self.declare(BufferKey(whole, "constant", device), shape, "float32", Logical(whole, shape))
        self.initial.setdefault(whole, {"type": "constant", "value": 0.0})
        image = self.declare(part.key, tensor.shape, tensor.dtype)
        if held is None:
            self._fed(feed, raw, part)
        else:
            self._gather_images(feed, held, raw, part)
        prepare, scale = StepKey("prepare", device, input=name), {"scale": self.network.spec.data.scale}
        tint = self._tint(part)
        self.operation(prepare, "image", {"raw": raw, "mean": mean, **tint, "image": image}, attrs=scale)

    def _fed(self, feed: StepKey, target: Region, part: Part) -> None:
        """Bring what data hands over to the device: ``rows`` of how many, where it takes some of them."""
        some = part.tensor.shape[0] < self.network.batch
        attrs = {"rows": [*part.rows], "of": self.network.batch} if some else {}
        self.operation(feed, "target", {"target": target}, queue="copy", attrs=attrs)

    def _gather_images(self, feed: StepKey, held: Shape, raw: Region, part: Part) -> None:
        """Feed which images are shown and how, and have a device that holds them all gather them."""
        device, rows, name = feed.device, self.buffers[raw.buffer].shape[0], part.key.of.input
        places = self.declare(BufferKey(TensorKey("places", input=name), "input", device), (rows, len(PLACE)), "int32")
        images = self.declare(BufferKey(TensorKey("images", input=name), "resident", device), held, "uint8")
        self._fed(feed, places, part)
        self.operation(StepKey("gather", device, input=name), "raw", {"images": images, "places": places, "raw": raw})

    def _tint(self, part: Part) -> dict[str, Region]:
        """What prepare needs to alter colours, in training where the spec asks for it: see netspec.ops.prepare."""
        tensor, device, name = part.tensor, part.device, part.key.of.input
        if self.network.phase != "train" or tint_of(self.network.spec.data) is None:
            return {}
        images, channels = tensor.shape[0], tensor.shape[-1]
        key, whole = BufferKey(TensorKey("tint", input=name), "input", device), TensorKey("components", input=name)
        tint = self.declare(key, (images, 1 + channels), "float32")
        self._fed(StepKey("feed", device, target=key), tint, part)
        shape = (channels, channels)
        found = self.declare(BufferKey(whole, "constant", device), shape, "float32", Logical(whole, shape))
        self.initial.setdefault(whole, {"type": "constant", "value": 0.0})
        return {"tint": tint, "components": found}

    # Forward --------------------------------------------------------------------------------------------------------

    def forward(self, shard: Shard) -> None:
        """Gather the shard's inputs, allocate what it writes and append its forward step."""
        for gather in {gather.key: gather for gather in shard.gathers.values()}.values():
            self._gather(shard, gather)
        self._parameters(shard)
        for part in shard.outputs.values():
            self.declare(part.key, part.tensor.shape, part.tensor.dtype)
        args, writes = self.arguments(shard, "forward")
        self.latest |= {shard.params[one.tensor]: args[one].buffer for one in writes if one.role == "next"}
        key, flops = StepKey("forward", shard.device, shard.spec.name), shard.layer.flops(shard.t).forward
        self.step(key, args, writes, attrs=self.keys(shard), flops=flops, compute=shadows.compute(shard))

    def _gather(self, shard: Shard, gather: Gather) -> None:
        for piece in gather.pieces:
            exchange = self.network.exchanges.get(piece.part.key)
            for part in [piece.part] if exchange is None else [move.part for move in exchange.moves]:
                owner = part.key.of.owner
                assert owner is not None
                crossing = part.device != gather.device
                edge = Edge(owner, part.device, shard.spec.name, shard.device, part.tensor.shape, crossing)
                self.edges[edge] = None
            if exchange is not None and exchange.part.key not in self.buffers:
                self._exchange(exchange)
        if gather.alias or gather.key in self.buffers:
            return
        tensor = gather.tensor
        self.declare(gather.key, tensor.shape, tensor.dtype)
        offset = 0
        for number, piece in enumerate(gather.pieces):
            target = channels(gather.key, tensor, offset, offset + piece.channels)
            self._fetch(shard, gather, piece, target, number)
            offset += piece.channels

    def _exchange(self, exchange: Exchange) -> None:
        part = exchange.part
        self.declare(part.key, part.tensor.shape, part.tensor.dtype)
        for number, move in enumerate(exchange.moves):
            source = along(move.part.key, move.part.tensor, 0, move.start, move.stop)
            self.copy(source, moved(exchange, move), move.nbytes, number)
            self.crossed(exchange.reader, move.part.key.of, move.part.device, part.device, "forward", move.nbytes)

    def crossed(self, layer: str, of: TensorKey, sender: str, receiver: str, direction: Traffic, nbytes: int) -> None:
        """Note what a transfer is for, where it is one."""
        if sender != receiver:
            self.crossings.append(Crossing(layer, of, sender, receiver, direction, nbytes))

    def _fetch(self, shard: Shard, gather: Gather, piece: Piece, target: Region, number: int) -> None:
        part = piece.part
        source = channels(part.key, part.tensor, piece.start, piece.stop)
        nbytes = part.tensor.nbytes // part.tensor.shape[-1] * piece.channels
        self.copy(source, target, nbytes, number)
        self.crossed(shard.spec.name, part.key.of, part.device, gather.device, "forward", nbytes)

    def copy(self, source: Region, target: Region, nbytes: int, number: int | None = None) -> None:
        """A copy step: on the receiving device's copy queue where it crosses, else in the compute queue.

        ``number`` tells those that fill one buffer apart.
        """
        sender, receiver = source.buffer.device, target.buffer.device
        key, args = StepKey("copy", receiver, target=target.buffer, index=number), {"source": source, "target": target}
        if sender == receiver:
            self.operation(key, "target", args)
        else:
            self.operation(key, "target", args, queue="copy", nbytes=nbytes, attrs={"from": sender})

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
            self._stored(shard, name, one, "parameter", {**one.init, **fans})
        for name, state in shard.layer.state(*inputs).items():
            start = {"type": "constant", "value": state.init}
            self._stored(shard, name, state, "state", start)

    def _shared(self, shard: Shard) -> Shard:
        """The shard on the same device of the layer whose parameters this one shares."""
        name = shard.spec.share
        assert name is not None
        owners = self.network.by_layer[name]
        other = self.network.spec.layer(name)
        if by_rows(shard.spec) != by_rows(other):
            raise fail(
                shard.spec.mark_of("share"),
                f"{shard.spec.name} is split: {shard.spec.split} and '{name}' split: {other.split}; "
                "shared parameters must be split alike",
            )
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

    def _stored(self, shard: Shard, name: str, one: Param | State, role: Role, init: Mapping[str, Any]) -> None:
        logical = self.logical(shard, name, one.shape, one.axis)
        key = of_layer(shard.spec.name, name, role, shard.device)
        if self.network.phase != "train" and self._evaluates_average(shard, name):
            key, logical = averages(key, logical)
        shard.params[name] = key
        region = self.declare(key, one.shape, one.dtype, logical)
        if by_rows(shard.spec):
            self.copies.add(key, shard.spec.devices, self.buffers[region.buffer].nbytes)
        self.initial.setdefault(logical.key, init)

    def _evaluates_average(self, shard: Shard, name: str) -> bool:
        ema = self.network.spec.train.ema
        return ema is not None and ema.evaluate and trainable(self.network.spec.train, shard, name)

    def logical(self, shard: Shard, name: str, shape: Shape, axis: int | None) -> Logical:
        """Where a shard's tensor lies in the whole one, under the name it has in checkpoints."""
        layer, first, total = self.names.get(shard.spec.name, (shard.spec.name, 0, 0))
        whole, parts = TensorKey(name, layer=layer), shard.count if shard.spec.split == "channels" else 1
        if axis is None or (parts == 1 and not total):
            return Logical(whole, shape)
        axis %= len(shape)
        width = shape[axis]
        channels_here = next(iter(shard.outputs.values())).tensor.shape[-1]
        scale = width / channels_here
        start = round(first * scale) + shard.index * width
        length = round(total * scale) if total else width * parts
        return Logical(whole, (*shape[:axis], length, *shape[axis + 1 :]), axis, start, start + width)

    # Arguments ------------------------------------------------------------------------------------------------------

    def keys(self, shard: Shard) -> dict[str, Any]:
        """The key of the shard's random numbers: logical name, first channel and channels of the whole.

        With replicas also how many elements of the whole tensor each of them has.
        """
        part = next(iter(shard.outputs.values()))
        layer, first, total = self.names.get(shard.spec.name, (shard.spec.name, 0, 0))
        width = part.tensor.shape[-1]
        parts = shard.count if shard.spec.split == "channels" else 1
        count = total or width * parts
        row = prod(part.tensor.shape[1:-1]) * count
        offset = first + (part.start if parts > 1 else 0) + part.row * row
        keys = {"key": layer, "channel_offset": offset, "channel_count": count}
        more = {"per_replica": self.network.batch * row} if self.network.replicas > 1 else {}
        return {**keys, **more}

    def arguments(self, shard: Shard, direction: Direction) -> tuple[dict[Argument, Region], tuple[Argument, ...]]:
        """Every tensor that some kernel of the direction names, as a region; and those that are written.

        Kernels of all backends count: the Program, which knows the backend, keeps what its kernels take.
        """
        reads, writes = named(shard, direction)
        found = {one: self._argument(shard, one) for one in (*reads, *writes)}
        args = {one: region for one, region in found.items() if region is not None}
        return args, tuple(one for one in writes if one in args)

    def _argument(self, shard: Shard, one: Argument) -> Region | None:
        """Where it lies; None for gradients, for which Backward has places."""
        name, role = one.tensor, shard.t.roles.get(one.tensor)
        if one == COUNTERS:
            return Region(of_device("counters", "scalar", shard.device))
        if one.role == "gradient":
            return None
        if one.role == "next":
            return self._made(shard, name, "next state") if role == "state" else None
        if role == "input":
            return Region(shard.gathers[name].key)
        if role == "output":
            return Region(shard.outputs[name].key)
        if role == "saved":
            return self._made(shard, name, "saved")
        return Region(shard.renewed[name]) if name in shard.renewed else shadows.read(self, shard, name)

    def _made(self, shard: Shard, name: str, role: Role) -> Region:
        """What forward leaves behind: declared by the first step that names it, the same for those that follow."""
        key, tensor = of_layer(shard.spec.name, name, role, shard.device), shard.t[name]
        return Region(key) if key in self.buffers else self.declare(key, tensor.shape, tensor.dtype)


def averages(key: BufferKey, logical: Logical) -> tuple[BufferKey, Logical]:
    """Where the averages of a parameter lie, in a buffer and as a whole."""
    whole = replace(logical, key=replace(logical.key, slot="average"))
    return BufferKey(replace(key.of, slot="average"), "average", key.device), whole


def channels(buffer: BufferKey, tensor: Tensor, start: int, stop: int) -> Region:
    """A channel range of a buffer; the whole of it where the range is all channels."""
    return along(buffer, tensor, len(tensor.shape) - 1, start, stop)


def along(buffer: BufferKey, tensor: Tensor, axis: int, start: int, stop: int) -> Region:
    """A range of a buffer along an axis; the whole of it where that is all."""
    return Region(buffer) if (start, stop) == (0, tensor.shape[axis]) else Region(buffer, axis, start, stop)


def moved(exchange: Exchange, move: Move, of: BufferKey | None = None) -> Region:
    """Where a move's elements lie in what it helps to put together, or in the gradient of that."""
    return along(of or exchange.part.key, exchange.part.tensor, move.axis, move.place, move.end)


def _stored_shapes(shard: Shard) -> dict[str, Shape]:
    """Shapes of a shard's parameters and state."""
    return {name: shard.t[name].shape for name in (*shard.t.names("parameter"), *shard.t.names("state"))}
