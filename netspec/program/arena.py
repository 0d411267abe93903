"""Liveness analysis and arena allocation: what is written in place, and which buffers share memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netspec.planning.identities import BufferKey
from netspec.planning.order import Clocks, SharedAccesses, Stretches, clocks_of, needed
from netspec.planning.plan import Buffer, Region, Step
from netspec.planning.race import Place
from netspec.program.fuse import PAIRS, Layers
from netspec.program.packing import pack
from netspec.program.program import OWN_MEMORY, aligned


@dataclass(slots=True, eq=False)
class Block:
    """Buffers that share memory by being written in place, and the steps that touch any of them."""

    device: str
    nbytes: int
    buffers: list[BufferKey]
    steps: list[int] = field(default_factory=list)
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """The outcome: steps with the orderings that reuse needs, offsets, arena sizes, in-place pairs."""

    steps: tuple[Step, ...]
    offsets: Mapping[BufferKey, int]
    arenas: Mapping[str, int]
    inplace: Mapping[BufferKey, BufferKey]


def lay_out(
    steps: Sequence[Step], buffers: Mapping[BufferKey, Buffer], layers: Layers, kept: BufferKey | None = None
) -> Layout:
    """Place every buffer that need not have memory of its own; ``kept`` is read when the last step has ended."""
    touching = _touching(steps)
    if kept in touching:
        touching[kept] = sorted({*touching[kept], len(steps) - 1})
    inplace = _inplace(steps, buffers, touching, layers)
    blocks = _blocks(buffers, touching, inplace)
    arenas = {device: _place([b for b in blocks if b.device == device]) for device in {b.device for b in blocks}}
    offsets = {key: block.offset for block in blocks for key in block.buffers}
    return Layout(_order_reuse(steps, blocks), offsets, arenas, inplace)


def places(buffers: Mapping[BufferKey, Buffer], offsets: Mapping[BufferKey, int]) -> dict[BufferKey, Place]:
    """Where the buffers lie that share memory, for the race check."""
    return {key: (key.device, start, start + max(buffers[key].nbytes, 1)) for key, start in offsets.items()}


def _touching(steps: Sequence[Step]) -> dict[BufferKey, list[int]]:
    touching: dict[BufferKey, list[int]] = defaultdict(list)
    for position, step in enumerate(steps):
        for key in dict.fromkeys(region.buffer for region in step.args.values()):
            touching[key].append(position)
    return touching


def _inplace(
    steps: Sequence[Step],
    buffers: Mapping[BufferKey, Buffer],
    touching: Mapping[BufferKey, list[int]],
    layers: Layers,
) -> dict[BufferKey, BufferKey]:
    """Pairs (written, read) of whole buffers where the step is the last to touch what it reads."""
    clocks = clocks_of(steps)
    pairs: dict[BufferKey, BufferKey] = {}
    taken: set[BufferKey] = set()
    for position, step in enumerate(steps):
        for source, target in _candidates(step, layers):
            fits = source.axis is None and target.axis is None and source.buffer not in taken
            read, written = buffers[source.buffer], buffers[target.buffer]
            same = (read.nbytes, read.dtype) == (written.nbytes, written.dtype)
            free = not {region.buffer.role for region in (source, target)} & set(OWN_MEMORY)
            once = [region.buffer for region in step.args.values()].count(source.buffer) == 1
            done = all(clocks.precedes(p, position) for p in touching[source.buffer] if p != position)
            if fits and same and free and once and done and touching[target.buffer][0] == position:
                pairs[target.buffer] = source.buffer
                taken.add(source.buffer)
    return pairs


def _candidates(step: Step, layers: Layers) -> Iterator[tuple[Region, Region]]:
    pair = PAIRS.get(step.op)
    if pair and layers[step.layer, step.device].inplace and all(one in step.args for one in pair):
        yield step.args[pair[0]], step.args[pair[1]]


def _blocks(
    buffers: Mapping[BufferKey, Buffer],
    touching: Mapping[BufferKey, list[int]],
    inplace: Mapping[BufferKey, BufferKey],
) -> list[Block]:
    roots: dict[BufferKey, BufferKey] = {}
    for target, source in inplace.items():  # in the order of steps: what a source lies in is known
        roots[target] = roots.get(source, source)
    found: dict[BufferKey, Block] = {}
    for key, buffer in buffers.items():
        if key.role in OWN_MEMORY or key not in touching:
            continue
        block = found.setdefault(roots.get(key, key), Block(buffer.device, 0, []))
        block.nbytes = max(block.nbytes, aligned(buffer.nbytes))
        block.buffers.append(key)
        block.steps += touching[key]
    for block in found.values():
        block.steps = sorted(set(block.steps))
    return list(found.values())


def _place(blocks: Sequence[Block]) -> int:
    """Give the blocks of a device their offsets; gives the arena's size."""
    for block, offset in zip(blocks, pack([(b.nbytes, (b.steps[0], b.steps[-1])) for b in blocks]), strict=True):
        block.offset = offset
    return max(block.offset + block.nbytes for block in blocks)


def _order_reuse(steps: Sequence[Step], blocks: Sequence[Block]) -> tuple[Step, ...]:
    """Steps with waits added, so that memory is written anew only after its former use has ended."""
    clocks = Clocks()
    used: dict[str, Stretches[SharedAccesses]] = defaultdict(lambda: Stretches(SharedAccesses()))
    of_step: dict[int, list[Block]] = defaultdict(list)
    for block in blocks:
        for position in block.steps:
            of_step[position].append(block)
    ordered: list[Step] = []
    positions = {step.key: position for position, step in enumerate(steps)}
    for position, step in enumerate(steps):
        cells = [(b, c) for b in of_step[position] for c in used[b.device].over(b.offset, b.offset + b.nbytes)]
        former = {place for block, cell in cells for place in cell.conflicts(block, writes=True)}
        clock = clocks.begin(step)
        waits = needed(clocks, clock, {*former, *(positions[key] for key in step.after)})
        ordered.append(replace(step, after=tuple(steps[number].key for number in waits)))
        clocks.append(step, clock)
        for block, cell in cells:
            cell.note(block, clocks.queue(step), position, writes=True)
    return tuple(ordered)
