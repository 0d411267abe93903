"""The backward half of an iteration: who needs which gradient, sums where several readers give one, transfers back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from netspec.contract.naming import Argument
from netspec.planning import shadows
from netspec.planning.builder import Builder, along, channels, moved
from netspec.planning.identities import BufferKey, Role, StepKey, of_layer
from netspec.planning.kernel_arguments import named
from netspec.planning.plan import Region
from netspec.planning.rates import trainable
from netspec.planning.replica_tree import Tree
from netspec.planning.row_exchange import Exchange, Move
from netspec.planning.row_parameters import brought
from netspec.planning.shards import Gather, Part, Shard

Range = tuple[int, int, int]
"""First channel in the part, first channel in the gather, and how many."""


class Given(NamedTuple):
    """What a reader gives for a part's gradient, where it lies, and for which of the part's rows; None: for all."""

    reader: str
    region: Region
    rows: tuple[int, int] | None = None

    @property
    def device(self) -> str:
        """Where it lies."""
        return self.region.buffer.device


class Backward:
    """Appends backward steps in the reverse order of the forward ones."""

    def __init__(self, builder: Builder) -> None:
        self.builder, self.train = builder, builder.network.spec.train
        self.tree = Tree(builder)
        self.added: set[BufferKey] = set()
        """Parameters whose gradients have been added up over replicas."""
        self.needs = _requires_gradient(builder)
        self.readers = builder.network.readers()
        self.given: dict[BufferKey, list[Region]] = {}
        """Gather or parameter -> gradients that the backward steps of its readers wrote."""
        self.totals: dict[BufferKey, Region | None] = {}
        self.sent: dict[BufferKey, list[Region]] = {}
        """Parameter of which several devices have a gradient -> these on the device that updates it, in their order."""
        self.taking = _exchanges_of(builder)
        self.returned: dict[BufferKey, Region | None] = {}
        """The gradients of exchanges' parts."""

    def run(self) -> None:
        """All backward steps; with replicas also what adds up gradients, as soon as a layer's are there."""
        for shards in reversed(self.builder.network.shards):
            for shard in shards:
                self._backward(shard)
            if shards[0].spec.share is None:
                self._send_gradients(shards)
                self._add_up(shards)

    def parameter_gradient(self, parameter: BufferKey) -> Region | None:
        """The whole gradient of a parameter, summed over the layers that share it, then over devices that hold it."""
        if parameter not in self.sent:
            return self._total(parameter, "parameter gradient")
        key = replace(parameter, role="parameter gradient", total=True, rows=(0, self.builder.network.batch))
        return self._sum(key, parameter, self.sent[parameter])

    def _send_gradients(self, shards: Sequence[Shard]) -> None:
        """Bring the gradients of what several devices hold to the one that updates it, as soon as they are there."""
        held = self.builder.copies.of
        for owner in [key for shard in shards for key in shard.params.values() if key in held]:
            totals = (self._total(key, "parameter gradient") for key in held[owner])
            regions = [region for region in totals if region is not None]
            if regions:
                self.sent[owner] = brought(self.builder, owner, regions)

    def _add_up(self, shards: Sequence[Shard]) -> None:
        """Add up gradients over replicas, but for those that come from several devices, which would be waited for."""
        copies = self.builder.copies
        for key in [key for shard in shards for key in shard.params.values()]:
            if self.builder.network.replicas > 1 and key not in copies.of and key not in copies.received:
                self.added.add(key)
                region = self.parameter_gradient(key)
                if region is not None:
                    self.tree.mean(region)

    # One shard ------------------------------------------------------------------------------------------------------

    def _backward(self, shard: Shard) -> None:
        reads, writes = named(shard, "backward")
        outputs = {Argument(name, "gradient"): part for name, part in shard.outputs.items()}
        gradients = {one: self._of_part(part) for one, part in outputs.items() if one in reads}
        wanted = tuple(one for one in writes if self._wanted(shard, one))
        if not wanted or not (shard.layer.reports or any(region is not None for region in gradients.values())):
            return
        args, _ = self.builder.arguments(shard, "backward")
        for one, region in gradients.items():
            args[one] = region or self._zeros(outputs[one])
        for one in wanted:
            args[one] = self._written(shard, one)
        self._append(shard, args, wanted)

    def _wanted(self, shard: Shard, one: Argument) -> bool:
        if one.role == "gradient" and one.tensor in shard.gathers:
            return any(piece.part.key in self.needs for piece in shard.gathers[one.tensor].pieces)
        return one.role == "gradient" and one.tensor in shard.params and trainable(self.train, shard, one.tensor)

    def _append(self, shard: Shard, args: dict[Argument, Region], wanted: tuple[Argument, ...]) -> None:
        flops = shard.layer.flops(shard.t)
        data = flops.d_inputs if any(one.tensor in shard.gathers for one in wanted) else 0
        params = flops.d_params if any(one.tensor in shard.params for one in wanted) else 0
        key = StepKey("backward", shard.device, shard.spec.name)
        attrs, compute = self.builder.keys(shard), shadows.compute(shard)
        self.builder.step(key, args, wanted, attrs=attrs, flops=data + params, compute=compute)

    def _written(self, shard: Shard, one: Argument) -> Region:
        """The buffer a backward step writes, noted where its readers will look for it."""
        name, tensor = one.tensor, shard.t.gradient(one.tensor)
        is_input = name in shard.gathers
        key = of_layer(shard.spec.name, name, "gradient" if is_input else "parameter gradient", shard.device)
        region = self.builder.declare(key, tensor.shape, tensor.dtype)
        self.given.setdefault(shard.gathers[name].key if is_input else shard.params[name], []).append(region)
        return region

    def _zeros(self, part: Part) -> Region:
        """The gradient of an output that no reader gives one."""
        region = self.builder.declare(_gradient(part), part.tensor.shape, part.tensor.dtype)
        self.builder.operation(StepKey("sum", part.device, target=region.buffer), "target", {"target": region})
        return region

    # Gradients of values --------------------------------------------------------------------------------------------

    def _of_part(self, part: Part) -> Region | None:
        """The gradient of what a shard wrote: all its readers' contributions, brought to its device and summed."""
        if part.key not in self.needs or not part.tensor.differentiable:
            return None
        found: list[list[Given]] = []
        for gather in self.readers.get(part.key, ()):
            reader = gather.key.of.layer or ""
            found += [[Given(reader, region)] for region in self._contributions(gather, part, len(found))]
        for several in self.taking.get(part.key, ()):
            given = [self._given_back(*one) for one in several]
            found += [[one for one in given if one is not None]] if any(given) else []
        if not found:
            return None
        alone = len(found) == 1
        regions = [self._bring(part, several, number, alone) for number, several in enumerate(found)]
        return self._sum(_gradient(part), part.key, regions)

    def _given_back(self, exchange: Exchange, move: Move) -> Given | None:
        """What comes back by a move: the gradient of what it took."""
        key = exchange.part.key
        if key not in self.returned:
            self.returned[key] = self._of_part(exchange.part)
        total = self.returned[key]
        if total is None:
            return None
        rows = None if move.is_whole else (move.start, move.stop)
        return Given(exchange.reader, moved(exchange, move, total.buffer), rows)

    def _contributions(self, gather: Gather, part: Part, first: int) -> list[Region]:
        """What a gather's readers give for a part: one for each time that the gather holds the part."""
        total = self._total(gather.key, "gradient")
        if total is None or gather.alias:
            return [total] if total else []
        return [
            self._taken(gather, part, total, first + number, ranges)
            for number, ranges in enumerate(_held(gather, part))
        ]

    def _taken(self, gather: Gather, part: Part, total: Region, number: int, ranges: Sequence[Range]) -> Region:
        """The part's gradient out of the gather's; ranges that a grouped join scattered are put together again."""
        if len(ranges) == 1:
            _, offset, width = ranges[0]
            return channels(total.buffer, gather.tensor, offset, offset + width)
        tensor, key = part.tensor, replace(_gradient(part), device=gather.device, index=number, shard=part.device)
        region = self.builder.declare(key, tensor.shape, tensor.dtype)
        for place, (start, offset, width) in enumerate(ranges):
            source = channels(total.buffer, gather.tensor, offset, offset + width)
            self.builder.copy(source, channels(key, tensor, start, start + width), 0, place)
        return region

    def _total(self, key: BufferKey, role: Role) -> Region | None:
        """The gradient of a gathered input, or of a parameter, summed over its readers on that device."""
        if key not in self.totals:
            regions = self.given.get(key)
            self.totals[key] = self._sum(replace(key, role=role, total=True), key, regions) if regions else None
        return self.totals[key]

    def _bring(self, part: Part, contribution: Sequence[Given], number: int, alone: bool) -> Region:
        """The contribution on the part's own device; a lone slice becomes a buffer, as kernels see whole arrays."""
        tensor, first = part.tensor, contribution[0]
        if first.rows is None and first.device == part.device and not (alone and first.region.axis is not None):
            return first.region
        key = _gradient(part) if alone else replace(_gradient(part), index=number)
        target = self.builder.declare(key, tensor.shape, tensor.dtype)
        for place, given in enumerate(contribution):
            start, stop = given.rows or (0, tensor.shape[0])
            nbytes = tensor.nbytes // tensor.shape[0] * (stop - start)
            rows = along(key, tensor, 0, start, stop)
            self.builder.copy(given.region, rows, nbytes, place if len(contribution) > 1 else None)
            self.builder.crossed(given.reader, part.key.of, given.device, part.device, "backward", nbytes)
        return target

    def _sum(self, key: BufferKey, like: BufferKey, regions: list[Region]) -> Region:
        """One region as it is; several summed into a buffer of the shape of ``like``."""
        if len(regions) == 1:
            return regions[0]
        shape = self.builder.buffers[like]
        target = self.builder.declare(key, shape.shape, shape.dtype)
        sources = {Argument("source", index=number): region for number, region in enumerate(regions)}
        step, written = StepKey("sum", key.device, target=key), Argument("target")
        self.builder.step(step, {written: target, **sources}, (written,))
        return target


def _gradient(part: Part) -> BufferKey:
    """The buffer of the whole gradient of a part, beside it."""
    return replace(part.key, role="gradient")


def _requires_gradient(builder: Builder) -> set[BufferKey]:
    """Buffers on which some trainable parameter has an influence."""
    needs: set[BufferKey] = set()
    train, exchanges = builder.network.spec.train, builder.network.exchanges
    for shards in builder.network.shards:
        for shard in shards:
            read = [piece.part.key for gather in shard.gathers.values() for piece in gather.pieces]
            for exchange in (exchanges[key] for key in read if key in exchanges):
                if any(move.part.key in needs for move in exchange.moves):
                    needs.add(exchange.part.key)
            reached = any(key in needs for key in read)
            if reached or any(trainable(train, shard, name) for name in shard.params):
                needs.update(p.key for p in shard.outputs.values() if p.tensor.differentiable)
    return needs


def _exchanges_of(builder: Builder) -> dict[BufferKey, list[list[tuple[Exchange, Move]]]]:
    """What exchanges take of a part, by its buffer: a list for each time that they take all of it together."""
    found: dict[BufferKey, dict[tuple[str, ...], list[tuple[Exchange, Move]]]] = {}
    for exchange in builder.network.exchanges.values():
        for move in exchange.moves:
            found.setdefault(move.part.key, {}).setdefault(exchange.readers, []).append((exchange, move))
    return {key: list(several.values()) for key, several in found.items()}


def _held(gather: Gather, part: Part) -> list[list[Range]]:
    """Where a gather holds a part: its ranges, a list for each time that the part is read (``inputs: [a, a]``)."""
    held: list[list[Range]] = []
    seen: Counter[int] = Counter()
    offset = 0
    for piece in gather.pieces:
        if piece.part.key == part.key:
            number = seen[piece.start]
            seen[piece.start] += 1
            held += [[]] if number == len(held) else []
            held[number].append((piece.start, offset, piece.channels))
        offset += piece.channels
    return held

