"""The backward half of an iteration: who needs which gradient, sums where several readers give one, transfers back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from netspec.planning.builder import Builder, channels, named
from netspec.planning.plan import Crossing, Kind, Region
from netspec.planning.shards import Gather, Part, Shard

Range = tuple[int, int, int]
"""First channel in the part, first channel in the gather, and how many."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """A part's gradient as one gather's readers give it: a region on the gather's device, of the part's shape."""

    device: str
    region: Region


class Backward:
    """Appends backward steps in the reverse order of the forward ones."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.needs = _requires_gradient(builder)
        self.given: dict[str, list[Region]] = {}
        """Gather buffer -> gradients that its readers' backward steps wrote."""
        self.totals: dict[str, Region | None] = {}
        self.param_gradients: dict[str, list[Region]] = {}
        """Parameter buffer -> gradients, one for each layer that shares it."""

    def run(self) -> None:
        """All backward steps, then the sums of shared parameters' gradients."""
        for shards in reversed(self.builder.network.shards):
            for shard in shards:
                self._backward(shard)

    def parameter_gradient(self, buffer: str) -> Region | None:
        """The whole gradient of a parameter, summed over the layers that share it."""
        regions = self.param_gradients.get(buffer)
        if not regions:
            return None
        return self._sum(f"d_{buffer}.total", buffer, self.builder.buffers[buffer].device, regions)

    # One shard ------------------------------------------------------------------------------------------------------

    def _backward(self, shard: Shard) -> None:
        reads, writes = named(shard, "backward")
        gradients = {f"d_{name}": self._of_part(part) for name, part in shard.outputs.items() if f"d_{name}" in reads}
        is_cost = bool(shard.layer.reports)
        wanted = [name for name in writes if self._wanted(shard, name)]
        if not wanted or not (is_cost or any(region is not None for region in gradients.values())):
            return
        args, _ = self.builder.arguments(shard, "backward")
        for name, region in gradients.items():
            args[name] = region or self._zeros(shard, name)
        for name in wanted:
            args[name] = self._written(shard, name)
        self._append(shard, args, wanted)

    def _wanted(self, shard: Shard, name: str) -> bool:
        target = name.removeprefix("d_")
        if target in shard.gathers:
            return any(piece.part.buffer in self.needs for piece in shard.gathers[target].pieces)
        return target in shard.params and trainable(shard, target)

    def _append(self, shard: Shard, args: dict[str, Region], wanted: list[str]) -> None:
        flops = shard.layer.flops(shard.t)
        data = flops.d_inputs if any(name[2:] in shard.gathers for name in wanted) else 0
        params = flops.d_params if any(name[2:] in shard.params for name in wanted) else 0
        self.builder.step(
            f"{shard.spec.name}.backward@{shard.device}",
            "backward",
            shard.device,
            args,
            tuple(wanted),
            layer=shard.spec.name,
            attrs=self.builder.keys(shard),
            flops=data + params,
        )

    def _written(self, shard: Shard, name: str) -> Region:
        """The buffer a backward step writes, noted where its readers will look for it."""
        target = name.removeprefix("d_")
        buffer = f"d_{shard.spec.name}.{target}@{shard.device}"
        tensor = shard.t[target]
        if target in shard.gathers:
            region = self.builder.buffer(buffer, shard.device, tensor.shape, tensor.dtype, "gradient")
            self.given.setdefault(shard.gathers[target].buffer, []).append(region)
        else:
            region = self.builder.buffer(buffer, shard.device, tensor.shape, tensor.dtype, "parameter gradient")
            self.param_gradients.setdefault(shard.params[target], []).append(region)
        return region

    def _zeros(self, shard: Shard, name: str) -> Region:
        tensor = shard.t[name.removeprefix("d_")]
        buffer = f"{name.replace('d_', 'd_' + shard.spec.name + '.', 1)}.none@{shard.device}"
        region = self.builder.buffer(buffer, shard.device, tensor.shape, tensor.dtype, "gradient")
        self.builder.step(f"{buffer}.zero", "sum", shard.device, {"target": region}, ("target",))
        return region

    # Gradients of values --------------------------------------------------------------------------------------------

    def _of_part(self, part: Part) -> Region | None:
        """The gradient of what a shard wrote: all its readers' contributions, brought to its device and summed."""
        if part.buffer not in self.needs or not part.tensor.differentiable:
            return None
        gathers = [g for g in self.builder.network.gathers.values() if _reads(g, part)]
        contributions = [one for gather in gathers for one in self._contributions(gather, part)]
        if not contributions:
            return None
        alone = len(contributions) == 1
        regions = [self._bring(part, contribution, number, alone) for number, contribution in enumerate(contributions)]
        return self._sum(f"d_{part.buffer}", part.buffer, part.device, regions)

    def _contributions(self, gather: Gather, part: Part) -> list[Contribution]:
        """What a gather's readers give for a part: one for each time that the gather holds the part."""
        total = self._total(gather)
        if total is None:
            return []
        if gather.alias:
            return [Contribution(gather.device, total)]
        return [
            Contribution(gather.device, self._taken(gather, part, total, number, ranges))
            for number, ranges in enumerate(_held(gather, part))
        ]

    def _taken(self, gather: Gather, part: Part, total: Region, number: int, ranges: Sequence[Range]) -> Region:
        """The part's gradient out of the gather's; ranges that a grouped join scattered are put together again."""
        if len(ranges) == 1:
            _, offset, width = ranges[0]
            return channels(total.buffer, gather.tensor, offset, offset + width)
        again = f".{number}" if number else ""
        buffer = f"d_{part.buffer}.of.{gather.buffer}{again}"
        tensor = part.tensor
        region = self.builder.buffer(buffer, gather.device, tensor.shape, tensor.dtype, "gradient")
        for place, (start, offset, width) in enumerate(ranges):
            source = channels(total.buffer, gather.tensor, offset, offset + width)
            target = channels(buffer, tensor, start, start + width)
            self.builder.copy(f"{buffer}.fetch{place}", gather.device, gather.device, source, target, 0)
        return region

    def _total(self, gather: Gather) -> Region | None:
        """The gradient of a gathered input, summed over its readers on that device."""
        if gather.buffer not in self.totals:
            regions = self.given.get(gather.buffer, [])
            name = f"d_{gather.buffer}.total"
            self.totals[gather.buffer] = self._sum(name, gather.buffer, gather.device, regions) if regions else None
        return self.totals[gather.buffer]

    def _bring(self, part: Part, contribution: Contribution, number: int, alone: bool) -> Region:
        """The contribution on the part's own device; a lone slice becomes a buffer, as kernels see whole arrays."""
        remote = contribution.device != part.device
        if not remote and not (alone and contribution.region.axis is not None):
            return contribution.region
        buffer = f"d_{part.buffer}" if alone else f"d_{part.buffer}.from{number}"
        tensor = part.tensor
        target = self.builder.buffer(buffer, part.device, tensor.shape, tensor.dtype, "gradient")
        nbytes = tensor.nbytes
        self.builder.copy(f"{buffer}.fetch", contribution.device, part.device, contribution.region, target, nbytes)
        if remote:
            name = part.buffer.partition("@")[0]
            layer = contribution.region.buffer.removeprefix("d_").partition(".")[0]
            self.builder.crossings.append(Crossing(layer, name, contribution.device, part.device, "backward", nbytes))
        return target

    def _sum(self, name: str, like: str, device: str, regions: list[Region]) -> Region:
        """One region as it is; several summed into a buffer of the shape of ``like``."""
        if len(regions) == 1:
            return regions[0]
        shape = self.builder.buffers[like]
        kind: Kind = "parameter gradient" if shape.kind == "parameter" else "gradient"
        target = self.builder.buffer(name, device, shape.shape, shape.dtype, kind)
        args = {"target": target, **{f"source{number}": region for number, region in enumerate(regions)}}
        self.builder.step(f"{name}.sum", "sum", device, args, ("target",))
        return target


def trainable(shard: Shard, name: str) -> bool:
    """Whether a parameter is updated: its rate is not switched off."""
    if name not in shard.layer.params(*shard.inputs):
        return False
    return (shard.owner or shard.spec).multiplier_of(name).rate != 0


def _requires_gradient(builder: Builder) -> set[str]:
    """Buffers on which some trainable parameter has an influence."""
    needs: set[str] = set()
    for shards in builder.network.shards:
        for shard in shards:
            reached = any(piece.part.buffer in needs for g in shard.gathers.values() for piece in g.pieces)
            if reached or any(trainable(shard, name) for name in shard.params):
                needs.update(p.buffer for p in shard.outputs.values() if p.tensor.differentiable)
    return needs


def _held(gather: Gather, part: Part) -> list[list[Range]]:
    """Where a gather holds a part: its ranges, a list for each time that the part is read (``inputs: [a, a]``)."""
    held: list[list[Range]] = []
    seen: Counter[int] = Counter()
    offset = 0
    for piece in gather.pieces:
        if piece.part.buffer == part.buffer:
            number = seen[piece.start]
            seen[piece.start] += 1
            held += [[]] if number == len(held) else []
            held[number].append((piece.start, offset, piece.channels))
        offset += piece.channels
    return held


def _reads(gather: Gather, part: Part) -> bool:
    return any(piece.part.buffer == part.buffer for piece in gather.pieces)
