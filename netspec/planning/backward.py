"""The backward half of an iteration: who needs which gradient, sums where several readers give one, transfers back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from netspec.contract.naming import Argument
from netspec.planning import shadows
from netspec.planning.builder import Builder, channels
from netspec.planning.identities import BufferKey, Role, StepKey, of_layer
from netspec.planning.kernel_arguments import named
from netspec.planning.plan import Crossing, Region
from netspec.planning.rates import trainable
from netspec.planning.shards import Gather, Part, Shard

Range = tuple[int, int, int]
"""First channel in the part, first channel in the gather, and how many."""


class Backward:
    """Appends backward steps in the reverse order of the forward ones."""

    def __init__(self, builder: Builder) -> None:
        self.builder, self.train = builder, builder.network.spec.train
        self.needs = _requires_gradient(builder)
        self.readers = builder.network.readers()
        self.given: dict[BufferKey, list[Region]] = {}
        """Gather or parameter -> gradients that the backward steps of its readers wrote."""
        self.totals: dict[BufferKey, Region | None] = {}

    def run(self) -> None:
        """All backward steps, then the sums of shared parameters' gradients."""
        for shards in reversed(self.builder.network.shards):
            for shard in shards:
                self._backward(shard)

    def parameter_gradient(self, parameter: BufferKey) -> Region | None:
        """The whole gradient of a parameter, summed over the layers that share it."""
        return self._total(parameter, "parameter gradient")

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
        found: list[tuple[Gather, Region]] = []
        for gather in self.readers.get(part.key, ()):
            found += [(gather, region) for region in self._contributions(gather, part, len(found))]
        if not found:
            return None
        alone = len(found) == 1
        regions = [self._bring(part, *contribution, number, alone) for number, contribution in enumerate(found)]
        return self._sum(_gradient(part), part.key, regions)

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
            total = BufferKey(key.of, role, key.device, total=True)
            self.totals[key] = self._sum(total, key, self.given[key]) if key in self.given else None
        return self.totals[key]

    def _bring(self, part: Part, gather: Gather, contribution: Region, number: int, alone: bool) -> Region:
        """The contribution on the part's own device; a lone slice becomes a buffer, as kernels see whole arrays."""
        sender, tensor = gather.device, part.tensor
        if sender == part.device and not (alone and contribution.axis is not None):
            return contribution
        key = _gradient(part) if alone else replace(_gradient(part), index=number)
        target = self.builder.declare(key, tensor.shape, tensor.dtype)
        self.builder.copy(contribution, target, tensor.nbytes)
        if sender != part.device:
            reader = gather.key.of.layer
            assert reader is not None
            crossing = Crossing(reader, part.key.of, sender, part.device, "backward", tensor.nbytes)
            self.builder.crossings.append(crossing)
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
    return BufferKey(part.key.of, "gradient", part.device)


def _requires_gradient(builder: Builder) -> set[BufferKey]:
    """Buffers on which some trainable parameter has an influence."""
    needs: set[BufferKey] = set()
    train = builder.network.spec.train
    for shards in builder.network.shards:
        for shard in shards:
            reached = any(piece.part.key in needs for g in shard.gathers.values() for piece in g.pieces)
            if reached or any(trainable(train, shard, name) for name in shard.params):
                needs.update(p.key for p in shard.outputs.values() if p.tensor.differentiable)
    return needs


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

