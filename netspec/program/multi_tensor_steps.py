"""Checks and updates of many tensors become one step each on GPUs, where every launch costs microseconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from netspec.contract.kernel import Backend
from netspec.contract.naming import Argument
from netspec.kernels.lookup import multi_tensor_name
from netspec.kernels.multi_tensor import SHARED, first_block, of_set
from netspec.planning.identities import BufferKey, Op, StepKey
from netspec.planning.plan import Buffer, Pass, Region, Step

OPS: tuple[Op, ...] = ("shadow", "finite", "scale", "update", "average", "commit")
"""Operations of which a step depends on none of its like, in their order; their kernels are such that
netspec.kernels.multi_tensor can take them."""
LARGE = 1 << 20
"""Elements from which a kernel takes longer than its launch: it has one of its own, as each thread of a merged one runs
some 300 instructions that choose its arrays."""
PARAMETER_BYTES = 4096
"""What a kernel's parameters may take, of which an array is seven words with one axis and two more with each other."""


def merge(steps: Sequence[Step], buffers: Mapping[BufferKey, Buffer], kinds: Mapping[str, Backend]) -> list[Step]:
    """The steps, those of a queue that run the same kernels made one: the first of them, which names the others.

    Steps stay apart that could not run as early as the first.
    """
    left = list(steps)
    for op in OPS:
        left = _merge([step for step in left if step.op == op and _is_mergeable(step, kinds)], left, buffers)
    return left


def _merge(likes: Iterable[Step], steps: list[Step], buffers: Mapping[BufferKey, Buffer]) -> list[Step]:
    groups: dict[Any, list[Step]] = defaultdict(list)
    for step in likes:
        groups[step.device, step.queue, _likeness(step, buffers)].append(step)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return steps
    order = _Order(steps)
    merged: dict[StepKey, Step] = {}
    for group in several:
        for few in _that_fit([one for one in group if order.may_move(one, group[0])], buffers):
            if len(few) > 1:
                merged[few[0].key] = _merged(few)
                order.gone.update(one.key for one in few[1:])
    left = [merged.get(step.key, step) for step in steps if step.key not in order.gone]
    return [replace(step, after=tuple(dict.fromkeys(map(order.present, step.after)))) for step in left]


class _Order:
    """Where steps stand, in all and in their queues, what they touch, and which are gone."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.places = {step.key: place for place, step in enumerate(steps)}
        self.before: dict[StepKey, StepKey] = {}
        self.touching: dict[BufferKey, list[tuple[int, Region]]] = defaultdict(list)
        self.writing: dict[BufferKey, list[tuple[int, Region]]] = defaultdict(list)
        self.gone: set[StepKey] = set()
        last: dict[tuple[str, str], StepKey] = {}
        for place, step in enumerate(steps):
            if (step.device, step.queue) in last:
                self.before[step.key] = last[step.device, step.queue]
            last[step.device, step.queue] = step.key
            for region, writes in step.accesses:
                for found in (self.touching, self.writing)[: 1 + writes]:
                    found[region.buffer].append((place, region))

    def may_move(self, step: Step, host: Step) -> bool:
        """Whether it may run with the host: nothing from there on touches what it does, and it waits for none of it."""
        first, last = self.places[host.key], self.places[step.key]
        if any(self.places[key] >= first for key in step.after):
            return False
        return not any(
            first <= place < last and region.meets(other)
            for region, writes in step.accesses
            for place, other in (self.touching if writes else self.writing)[region.buffer]
        )

    def present(self, key: StepKey) -> StepKey:
        """The step, or the last one left of those that its queue had ended by then."""
        while key in self.gone:
            key = self.before[key]
        return key


def _is_mergeable(step: Step, kinds: Mapping[str, Backend]) -> bool:
    """Whether it is little work on a GPU, on elements side by side: slices of rows have another type in kernels."""
    little = all(one.extent < LARGE for one in step.passes)
    return little and kinds[step.device] == "cuda" and all(not region.axis for region in step.args.values())


def _likeness(step: Step, buffers: Mapping[BufferKey, Buffer]) -> Any:
    """What steps have in common that can be one: kernels with the same types, numbers of the iteration, turns."""
    kernels = tuple((one.kernel, one.threads, one.once, one.dtype) for one in step.passes)
    types = tuple((one, *_type(step, one, buffers)) for one in step.args)
    shared = tuple((one, step.args[one]) for one in step.args if one.tensor in SHARED)
    return step.op, kernels, types, shared, step.turns


def _type(step: Step, one: Argument, buffers: Mapping[BufferKey, Buffer]) -> tuple[str, int]:
    """Dtype, and axes as the kernels get them; all lie side by side in memory."""
    buffer = buffers[step.args[one].buffer]
    return buffer.dtype, 1 if any(one in each.flat for each in step.passes) else len(buffer.shape)


def _that_fit(group: Sequence[Step], buffers: Mapping[BufferKey, Buffer]) -> Iterator[list[Step]]:
    """As many steps at a time as the parameters of their kernels allow."""
    count = min(_sets(one, group[0], buffers) for one in group[0].passes)
    yield from (list(group[start : start + count]) for start in range(0, len(group), count))


def _sets(one: Pass, step: Step, buffers: Mapping[BufferKey, Buffer]) -> int:
    """How many sets of a kernel's arguments its parameters can be, with a number that says where each begins."""
    words = {name: 1 if target is None else 5 + 2 * _type(step, target, buffers)[1] for name, target in one.args}
    shared = sum(words[name] for name in words if name in SHARED)
    return (PARAMETER_BYTES // 8 - shared) // (1 + sum(words.values()) - shared)


def _merged(steps: Sequence[Step]) -> Step:
    names = [
        {one: one if one.tensor in SHARED else replace(one, index=number) for one in step.args}
        for number, step in enumerate(steps)
    ]
    args = {own[one]: region for step, own in zip(steps, names, strict=True) for one, region in step.args.items()}
    passes = zip(*(step.passes for step in steps), strict=True)
    return replace(
        steps[0],
        args=args,
        writes=tuple(own[one] for step, own in zip(steps, names, strict=True) for one in step.writes),
        after=tuple(dict.fromkeys(key for step in steps for key in step.after)),
        fused=tuple(step.key for step in steps[1:]),
        flops=sum(step.flops for step in steps),
        passes=tuple(_merged_pass(each, names) for each in passes),
    )


def _merged_pass(passes: Sequence[Pass], names: Sequence[Mapping[Argument, Argument]]) -> Pass:
    args: dict[str, Argument | None] = {}
    scalars: dict[str, int | float] = {}
    blocks = 0
    for number, (one, own) in enumerate(zip(passes, names, strict=True)):
        args |= {of_set(name, number): target and own[target] for name, target in one.args}
        scalars |= {of_set(name, number): value for name, value in one.scalars.items()}
        scalars[first_block(number)] = blocks
        blocks += one.grid[0]
    del scalars[first_block(0)]
    args |= {first_block(number): None for number in range(1, len(passes))}
    return replace(
        passes[0],
        kernel=multi_tensor_name(passes[0].kernel, len(passes)),
        args=tuple(args.items()),
        scalars=scalars,
        writes=tuple(own[target] for one, own in zip(passes, names, strict=True) for target in one.writes),
        extent=sum(one.extent for one in passes),
        block=sum(one.block for one in passes),
        grid=(blocks,),
        flat=tuple(dict.fromkeys(own[target] for one, own in zip(passes, names, strict=True) for target in one.flat)),
    )
