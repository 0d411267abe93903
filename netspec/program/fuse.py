"""Elementwise layers join the step whose result they work on: one trip through memory less each.

On CPUs a team member runs them on the block that it has just written, while that is in cache: the same numbers to the
last bit. On GPUs a kernel that stores through ``netspec.plugin.epilogue`` is compiled with them as its epilogue, one
that stores through ``backward_epilogue`` with the backward pass of one of them, which may read one tensor more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from netspec.contract.elementwise import Elementwise
from netspec.contract.kernel import BESIDE, Backend
from netspec.kernels.lookup import find_kernel
from netspec.planning.plan import Buffer, Pass, Region, Step
from netspec.registry import layer_types

PAIRS = {"forward": ("x", "y"), "backward": ("d_y", "d_x")}
"""What a layer that may run in place reads and writes."""
LARGE, FEW = 8 << 20, 16
"""Bytes from which a tensor has left a core's cache before it is read again. On CPUs what is smaller is fused only into
passes of few blocks: each block costs a call more, which made small networks slower."""


def fuse(
    steps: Sequence[Step],
    buffers: Mapping[str, Buffer],
    types: Mapping[str, str],
    kinds: Mapping[str, Backend],
    kept: str | None = None,
) -> list[Step]:
    """The steps with each elementwise one that allows it made part of the step before; ``types`` maps layers to types.

    What lay between the two is no longer written: a buffer that others read, or that is ``kept``, stays as it is. A
    step that took others in lists their layers, in order, in ``attrs["fused"]``.
    """
    fusion = _Fusion(steps, buffers, types, kinds, kept)
    for step in steps:
        fusion.consider(step)
    return fusion.outcome()


def split(step: Step) -> tuple[Step, ...]:
    """A fused step as steps of one layer each, on the same buffers: what shows which layer a number comes from."""
    layers = iter(step.attrs.get("fused", ()))
    own = {name for one in step.passes for name in one.writes}
    plain = replace(
        step,
        writes=tuple(name for name in step.writes if name in own),
        passes=tuple(_reading(replace(one, then=())) if one.then else one for one in step.passes),
    )
    tails = [tail for one in step.passes for tail in one.then]
    return plain, *(replace(step, layer=next(layers), writes=tail.writes, passes=(tail,)) for tail in tails)


def covers_blocks(one: Pass) -> bool:
    """Whether a block of positions is a range of the elements of ``over``: along its leading axes, or flat."""
    return one.over in one.flat if one.axes is None else one.axes == tuple(range(len(one.axes)))


@dataclass(frozen=True, slots=True)
class _Match:
    """A step, the one that takes it in, that one's name for what lies between them, and its last pass to write it."""

    step: Step
    host: Step
    between: str
    result: Region
    place: int


class _Fusion:
    def __init__(
        self,
        steps: Sequence[Step],
        buffers: Mapping[str, Buffer],
        types: Mapping[str, str],
        kinds: Mapping[str, Backend],
        kept: str | None,
    ) -> None:
        self.buffers, self.types, self.kinds, self.kept = buffers, types, kinds, kept
        self.steps: dict[str, Step] = {step.name: step for step in steps}
        self.position = {step.name: number for number, step in enumerate(steps)}
        self.stands_for: dict[str, tuple[str, ...]] = {}
        """A step that is gone -> those that have to have ended where it had to."""
        self.touching: dict[str, list[str]] = defaultdict(list)
        self.before: dict[str, str | None] = {}
        last: dict[tuple[str, str], str] = {}
        for step in steps:
            self.before[step.name] = last.get((step.device, step.queue))
            last[step.device, step.queue] = step.name
            for buffer in {region.buffer for region in step.args.values()}:
                self.touching[buffer].append(step.name)

    def consider(self, step: Step) -> None:
        """Make the step part of the one that writes what it reads, where that is allowed."""
        match = self._match(step)
        if match is not None:
            self._take_in(match)

    def outcome(self) -> list[Step]:
        """The steps that are left."""
        return [replace(step, after=self._waits(step)) for step in self.steps.values()]

    # May it be -------------------------------------------------------------------------------------------------------

    def _match(self, step: Step) -> _Match | None:
        pair = PAIRS.get(step.op, ("", ""))
        if step.layer is None or not all(name in step.args for name in pair) or not self._is_elementwise(step, pair):
            return None
        source, result = (step.args[name] for name in pair)
        others = [name for name in self.touching[source.buffer] if name != step.name]
        host = self.steps.get(others[0]) if len(others) == 1 else None
        if host is None or host.op not in PAIRS or not self._is_between(source, result):
            return None
        names = [name for name, region in host.args.items() if region.buffer == source.buffer]
        if len(names) != 1 or (host.device, host.queue) != (step.device, step.queue):
            return None
        place = _last_write(host, names[0])
        if place is None or not self._takes(host.passes[place], names[0], step) or not self._moves(step, host, source):
            return None
        return _Match(step, host, names[0], result, place)

    def _is_elementwise(self, step: Step, pair: tuple[str, str]) -> bool:
        """One flat pass, in place, that takes any cut: it is as right on a part of the elements."""
        assert step.layer is not None
        if not layer_types()[self.types[step.layer]].inplace or len(step.passes) != 1:
            return False
        one = step.passes[0]
        any_cut = not (one.host or one.per_member or one.then or callable(find_kernel(one.kernel).block))
        return any_cut and set(pair) <= set(one.flat) and set(one.writes) <= set(one.flat)

    def _is_between(self, source: Region, result: Region) -> bool:
        """Whether nobody but the two needs what lies between them."""
        a, b = self.buffers[source.buffer], self.buffers[result.buffer]
        whole = source.axis is None and result.axis is None
        own = a.kind in ("activation", "gradient") and source.buffer != self.kept
        return whole and own and (prod(a.shape), a.dtype) == (prod(b.shape), b.dtype)

    def _takes(self, one: Pass, between: str, step: Step) -> bool:
        """Whether a pass can go on with another kernel on what it has written."""
        if self.kinds[step.device] == "cpu":
            large = self.buffers[step.args[PAIRS[step.op][0]].buffer].nbytes >= LARGE
            return one.over == between and covers_blocks(one) and (large or one.extent <= FEW * one.block)
        assert step.layer is not None
        follows = issubclass(layer_types()[self.types[step.layer]], Elementwise) and one.writes == (between,)
        if step.op == "backward":
            beside = _beside(step)
            whole = all(step.args[name].axis is None for name in beside)
            follows = follows and len(beside) <= 1 and whole and not one.then
        return follows and find_kernel(one.kernel).has_epilogue

    def _moves(self, step: Step, host: Step, source: Region) -> bool:
        """Whether the step may run as early as its host: nothing in between touches what it does, or waits for that."""
        first, last = self.position[host.name], self.position[step.name]
        own = [access for access in step.accesses if access[0] != source]
        near = [other for other in self.steps.values() if first <= self.position[other.name] < last]
        return not any(_conflict(own, other) for other in near) and all(
            self.position[name] <= first for name in self._waits(step)
        )

    # Doing it --------------------------------------------------------------------------------------------------------

    def _take_in(self, match: _Match) -> None:
        step, host, passes = match.step, match.host, list(match.host.passes)
        names = {name: f"{step.layer}.{name}" for name in step.args} | dict.fromkeys(PAIRS[step.op], match.between)
        one, fused = passes[match.place], list(host.attrs.get("fused", ()))
        passes[match.place] = replace(one, then=(*one.then, _renamed(step.passes[0], names)))
        if self.kinds[step.device] == "cuda" and step.op == "backward":
            passes[match.place] = _reading(passes[match.place], *(names[name] for name in _beside(step)))
        fused.insert(sum(len(each.then) for each in passes[: match.place + 1]) - 1, step.layer)
        args = {**host.args, **{names[name]: region for name, region in step.args.items()}}
        args[match.between] = match.result
        self.steps[host.name] = replace(
            host,
            args=args,
            writes=tuple(dict.fromkeys((*host.writes, *(names[name] for name in step.writes)))),
            after=tuple(name for name in dict.fromkeys((*host.after, *self._waits(step))) if name != host.name),
            attrs={**host.attrs, "fused": tuple(fused)},
            flops=host.flops + step.flops,
            passes=tuple(passes),
        )
        del self.steps[step.name]
        # Its queue's earlier steps had ended before it had: who waited for it may rely on that.
        self.stands_for[step.name] = tuple(filter(None, (host.name, self.before[step.name])))
        for buffer in {region.buffer for region in step.args.values()}:
            others = [name for name in self.touching[buffer] if name != step.name]
            self.touching[buffer] = list(dict.fromkeys((*others, host.name)))

    def _waits(self, step: Step) -> tuple[str, ...]:
        found = dict.fromkeys(name for wait in step.after for name in self._present(wait))
        return tuple(name for name in found if name != step.name)

    def _present(self, name: str) -> Iterator[str]:
        if name in self.steps:
            yield name
        for other in self.stands_for.get(name, ()):
            yield from self._present(other)


def _beside(step: Step) -> list[str]:
    """What an elementwise backward pass takes beside the gradients."""
    taken = [target for _, target in step.passes[0].args if target is not None]
    return [name for name in dict.fromkeys(taken) if name not in PAIRS["backward"]]


def _reading(one: Pass, target: str | None = None) -> Pass:
    """A pass whose epilogue reads that; without one, what the kernel writes stands there, see backward_epilogue."""
    if BESIDE not in dict(one.args):
        return one
    place = target or one.writes[0]
    args = tuple((name, place if name == BESIDE else old) for name, old in one.args)
    return replace(one, args=args, flat=tuple(dict.fromkeys((*one.flat, place))))


def _last_write(step: Step, name: str) -> int | None:
    """The pass that writes it last, if none takes it afterwards."""
    taking = [number for number, one in enumerate(step.passes) if name in (target for _, target in one.args)]
    return taking[-1] if taking and name in step.passes[taking[-1]].writes else None


def _conflict(accesses: Sequence[tuple[Region, bool]], other: Step) -> bool:
    return any(
        (writes or wrote) and region.meets(place) for region, writes in accesses for place, wrote in other.accesses
    )


def _renamed(one: Pass, names: Mapping[str, str]) -> Pass:
    return replace(
        one,
        args=tuple((name, None if target is None else names[target]) for name, target in one.args),
        writes=tuple(dict.fromkeys(names[name] for name in one.writes)),
        over=names.get(one.over, one.over),
        flat=tuple(dict.fromkeys(names[name] for name in one.flat)),
    )
