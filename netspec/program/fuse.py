"""Elementwise layers join the step whose result they work on: one trip through memory less each.

On CPUs a team member runs them on the block that it has just written, while that is in cache: the same numbers to the
last bit. On GPUs a kernel that stores through ``netspec.plugin.epilogue`` is compiled with them as its epilogue, one
that stores through ``backward_epilogue`` with the backward pass of one of them, which may read one tensor more; or
with the first pass of a backward step, where that is of numbers, as of a product with an epilogue of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from netspec.contract.elementwise import Elementwise, is_elementwise
from netspec.contract.kernel import RESIDUAL, Backend
from netspec.contract.layer import Layer
from netspec.contract.naming import Argument
from netspec.kernels.lookup import find_kernel
from netspec.planning.identities import BufferKey, StepKey
from netspec.planning.plan import Buffer, Pass, Region, Step

X, Y, D_X, D_Y = Argument("x"), Argument("y"), Argument("x", "gradient"), Argument("y", "gradient")
PAIRS: Mapping[str, tuple[Argument, Argument]] = {"forward": (X, Y), "backward": (D_Y, D_X)}
"""What a layer that may run in place reads and writes."""
Layers = Mapping[tuple[str | None, str], Layer]
"""The layers' instances by name and device."""
LARGE, FEW = 8 << 20, 16
"""Bytes from which a tensor has left a core's cache before it is read again. On CPUs what is smaller is fused only into
passes of few blocks: each block costs a call more, which made small networks slower."""


def fuse(
    steps: Sequence[Step],
    buffers: Mapping[BufferKey, Buffer],
    layers: Layers,
    kinds: Mapping[str, Backend],
    kept: BufferKey | None = None,
) -> list[Step]:
    """The steps with each elementwise one that allows it made part of the step before.

    What lay between the two is no longer written: a buffer that others read, or that is ``kept``, stays as it is. A
    step that took others in names them, in order, in ``fused``.
    """
    fusion = _Fusion(steps, buffers, layers, kinds, kept)
    for step in steps:
        fusion.consider(step)
    return fusion.outcome()


def split(step: Step) -> tuple[Step, ...]:
    """A fused step as steps of one layer each, on the same buffers: what shows which layer a number comes from."""
    fused = iter(step.fused)
    own = {target for one in step.passes for target in one.writes}
    plain = replace(
        step,
        writes=tuple(one for one in step.writes if one in own),
        fused=(),
        passes=tuple(_reading(replace(one, then=())) if one.then else one for one in step.passes),
    )
    tails = [tail for one in step.passes for tail in one.then]
    return plain, *(replace(step, key=next(fused), fused=(), writes=tail.writes, passes=(tail,)) for tail in tails)


def covers_blocks(one: Pass) -> bool:
    """Whether a block of positions is a range of the elements of ``over``: along its leading axes, or flat."""
    return one.over in one.flat if one.axes is None else one.axes == tuple(range(len(one.axes)))


@dataclass(frozen=True, slots=True)
class _Match:
    """A step, the one that takes it in, that one's name for what lies between them, and its last pass to write it."""

    step: Step
    host: Step
    between: Argument
    result: Region
    place: int


class _Fusion:
    def __init__(
        self,
        steps: Sequence[Step],
        buffers: Mapping[BufferKey, Buffer],
        layers: Layers,
        kinds: Mapping[str, Backend],
        kept: BufferKey | None,
    ) -> None:
        self.buffers, self.layers, self.kinds, self.kept = buffers, layers, kinds, kept
        self.steps: dict[StepKey, Step] = {step.key: step for step in steps}
        self.position = {step.key: number for number, step in enumerate(steps)}
        self.stands_for: dict[StepKey, tuple[StepKey, ...]] = {}
        """A step that is gone -> those that have to have ended where it had to."""
        self.touching: dict[BufferKey, dict[StepKey, None]] = defaultdict(dict)
        self.before: dict[StepKey, StepKey | None] = {}
        last: dict[tuple[str, str], StepKey] = {}
        for step in steps:
            self.before[step.key] = last.get((step.device, step.queue))
            last[step.device, step.queue] = step.key
            for region in step.args.values():
                self.touching[region.buffer][step.key] = None

    def consider(self, step: Step) -> None:
        """Make the step part of the one that writes what it reads, where that is allowed."""
        match = self._match(step)
        if match is not None:
            self._take_in(match)
        elif step.op == "backward" and self.kinds[step.device] == "cuda" and len(step.passes) > 1:
            self._take_first_pass(step)

    def outcome(self) -> list[Step]:
        """The steps that are left."""
        return [replace(step, after=self._waits(step)) for step in self.steps.values()]

    # May it be -------------------------------------------------------------------------------------------------------

    def _match(self, step: Step) -> _Match | None:
        pair = PAIRS.get(step.op)
        if pair is None or not all(one in step.args for one in pair) or not self._is_elementwise(step, pair):
            return None
        source, result = (step.args[one] for one in pair)
        host = self._host(step, source)
        if host is None or host.op not in PAIRS or not self._is_between(source, result):
            return None
        between = [one for one, region in host.args.items() if region.buffer == source.buffer]
        if len(between) != 1 or (host.device, host.queue) != (step.device, step.queue):
            return None
        place = _last_write(host, between[0])
        if place is None or not self._takes(host.passes[place], between[0], step):
            return None
        return _Match(step, host, between[0], result, place) if self._moves(step, host, source) else None

    def _host(self, step: Step, source: Region) -> Step | None:
        """The only other step that touches what the step works on."""
        touching = self.touching[source.buffer]
        if len(touching) != 2:
            return None
        return next(self.steps[key] for key in touching if key != step.key)

    def _is_elementwise(self, step: Step, pair: tuple[Argument, Argument]) -> bool:
        """One flat pass, in place, that takes any cut: it is as right on a part of the elements."""
        if not self._layer(step).inplace or len(step.passes) != 1:
            return False
        one = step.passes[0]
        any_cut = not (one.host or one.per_member or one.then or callable(find_kernel(one.kernel).block))
        return any_cut and set(pair) <= set(one.flat) and set(one.writes) <= set(one.flat)

    def _layer(self, step: Step) -> Layer:
        return self.layers[step.layer, step.device]

    def _is_between(self, source: Region, result: Region) -> bool:
        """Whether nobody but the two needs what lies between them."""
        a, b = self.buffers[source.buffer], self.buffers[result.buffer]
        whole = source.axis is None and result.axis is None
        own = a.role in ("activation", "gradient") and source.buffer != self.kept
        return whole and own and (prod(a.shape), a.dtype) == (prod(b.shape), b.dtype)

    def _takes(self, one: Pass, between: Argument, step: Step) -> bool:
        """Whether a pass can go on with another kernel on what it has written."""
        if self.kinds[step.device] == "cpu":
            large = self.buffers[step.args[PAIRS[step.op][0]].buffer].nbytes >= LARGE
            return one.over == between and covers_blocks(one) and (large or one.extent <= FEW * one.block)
        if not isinstance(self._layer(step), Elementwise):
            return False
        if step.op == "backward":
            residuals = _residuals(step)
            return all(step.args[other].axis is None for other in residuals) and self._ends(one, between, residuals)
        return one.writes == (between,) and find_kernel(one.kernel).has_epilogue

    def _ends(self, one: Pass, between: Argument, residuals: Sequence[Argument]) -> bool:
        """Whether a backward pass on a GPU stores through an epilogue that is free, and can read the residuals."""
        alone = one.writes == (between,) and not one.then and len(residuals) <= 1
        return alone and find_kernel(one.kernel).has_epilogue

    def _moves(self, step: Step, host: Step, source: Region) -> bool:
        """Whether the step may run as early as its host: nothing in between touches what it does, or waits for that."""
        first, last = self.position[host.key], self.position[step.key]
        if any(self.position[key] > first for key in self._waits(step)):
            return False
        for region, writes in step.accesses:
            near = [key for key in self.touching[region.buffer] if first <= self.position[key] < last]
            if region != source and any(_conflict(region, writes, self.steps[key]) for key in near):
                return False
        return True

    # Doing it --------------------------------------------------------------------------------------------------------

    def _take_in(self, match: _Match) -> None:
        step, host, passes = match.step, match.host, list(match.host.passes)
        names = {one: replace(one, layer=step.layer) for one in step.args}
        names |= dict.fromkeys(PAIRS[step.op], match.between)
        one, fused = passes[match.place], list(host.fused)
        passes[match.place] = replace(one, then=(*one.then, _renamed(step.passes[0], names)))
        if self.kinds[step.device] == "cuda" and step.op == "backward":
            passes[match.place] = _reading(passes[match.place], *(names[other] for other in _residuals(step)))
        fused.insert(sum(len(each.then) for each in passes[: match.place + 1]) - 1, step.key)
        args = {**host.args, **{names[one]: region for one, region in step.args.items()}}
        args[match.between] = match.result
        self.steps[host.key] = replace(
            host,
            args=args,
            writes=tuple(dict.fromkeys((*host.writes, *(names[one] for one in step.writes)))),
            after=tuple(key for key in dict.fromkeys((*host.after, *self._waits(step))) if key != host.key),
            fused=tuple(fused),
            flops=host.flops + step.flops,
            passes=tuple(passes),
        )
        del self.steps[step.key]
        # Its queue's earlier steps had ended before it had: who waited for it may rely on that.
        before = self.before[step.key]
        self.stands_for[step.key] = tuple(dict.fromkeys((host.key, *(self._present(before) if before else ()))))
        for region in step.args.values():
            self.touching[region.buffer].pop(step.key, None)
            self.touching[region.buffer][host.key] = None

    def _take_first_pass(self, step: Step) -> None:
        """Where a backward step begins with a pass that makes numbers of dy, whoever writes dy writes these instead."""
        first, others = step.passes[0], step.passes[1:]
        taken = [target for one in others for _, target in one.args]
        if D_Y not in step.args or D_Y in taken or len(first.writes) > 1:
            return
        if not is_elementwise(find_kernel(first.kernel)):
            return
        (target,), residuals = first.writes, _residuals(step)
        host = self._host(step, step.args[D_Y])
        found = self._gradient_of(host, step, target, residuals) if host else None
        if host is None or found is None:
            return
        between, place = found
        names, passes = {one: replace(one, layer=step.layer) for one in residuals}, list(host.passes)
        tail = _renamed(first, {**names, D_Y: between, target: between})
        passes[place] = _reading(replace(passes[place], then=(tail,)), *names.values())
        args = {**host.args, **{names[one]: step.args[one] for one in residuals}}
        self.steps[host.key] = replace(host, args=args, fused=(*host.fused, step.key), passes=tuple(passes))
        same = {one: one for one in step.args}
        rest = tuple(_renamed(one, {**same, target: D_Y}) for one in others)
        args = {one: region for one, region in step.args.items() if one != target}
        writes = tuple(one for one in step.writes if one != target)
        self.steps[step.key] = replace(step, args=args, writes=writes, passes=rest)
        for one in residuals:
            self.touching[step.args[one].buffer][host.key] = None

    def _gradient_of(
        self, host: Step, step: Step, target: Argument, residuals: Sequence[Argument]
    ) -> tuple[Argument, int] | None:
        """What the host calls the step's dy, and the pass that may write what the step makes of it in its place."""
        region, between = step.args[D_Y], [one for one, of in host.args.items() if of.buffer == step.args[D_Y].buffer]
        alike = (host.op, host.device, host.queue) == (step.op, step.device, step.queue) and len(between) == 1
        place = _last_write(host, between[0]) if alike and self._is_between(region, step.args[target]) else None
        if place is None or not self._ends(host.passes[place], between[0], residuals):
            return None
        ready = all(self._is_ready(step.args[one], host) for one in residuals)
        return (between[0], place) if ready else None

    def _is_ready(self, region: Region, host: Step) -> bool:
        """Whether what writes it has come before the host, and it is whole."""
        writers = (self.steps[key] for key in self.touching[region.buffer])
        written = [one for one in writers if any(wrote and region.meets(place) for place, wrote in one.accesses)]
        return region.axis is None and all(self.position[one.key] < self.position[host.key] for one in written)

    def _waits(self, step: Step) -> tuple[StepKey, ...]:
        found = dict.fromkeys(key for wait in step.after for key in self._present(wait))
        return tuple(key for key in found if key != step.key)

    def _present(self, key: StepKey) -> tuple[StepKey, ...]:
        """The step itself, or those that stand for it: what comes before a step has been decided on when it is."""
        return self.stands_for.get(key, (key,))


def _residuals(step: Step) -> list[Argument]:
    """What an elementwise backward pass takes beside dy and what it writes."""
    one = step.passes[0]
    taken = [target for _, target in one.args if target is not None]
    return [target for target in dict.fromkeys(taken) if target not in (D_Y, *one.writes)]


def _reading(one: Pass, target: Argument | None = None) -> Pass:
    """A pass whose epilogue reads that; without one, what the kernel writes stands there, see backward_epilogue."""
    if RESIDUAL not in dict(one.args):
        return one
    place = target or one.writes[0]
    args = tuple((name, place if name == RESIDUAL else old) for name, old in one.args)
    return replace(one, args=args, flat=tuple(dict.fromkeys((*one.flat, place))))


def _last_write(step: Step, between: Argument) -> int | None:
    """The pass that writes it last, if none takes it afterwards."""
    taking = [number for number, one in enumerate(step.passes) if between in (target for _, target in one.args)]
    return taking[-1] if taking and between in step.passes[taking[-1]].writes else None


def _conflict(region: Region, writes: bool, other: Step) -> bool:
    return any((writes or wrote) and region.meets(place) for place, wrote in other.accesses)


def _renamed(one: Pass, names: Mapping[Argument, Argument]) -> Pass:
    return replace(
        one,
        args=tuple((name, None if target is None else names[target]) for name, target in one.args),
        writes=tuple(dict.fromkeys(names[target] for target in one.writes)),
        over=None if one.over is None else names.get(one.over, one.over),
        flat=tuple(dict.fromkeys(names[target] for target in one.flat)),
    )
