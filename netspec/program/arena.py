"""Memory: what may be written in place, and which buffers may lie over one another because their lives do not meet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netspec.planning.order import precedence
from netspec.planning.plan import Buffer, Region, Step
from netspec.program.program import OWN_MEMORY, aligned
from netspec.registry import layer_types


@dataclass(slots=True)
class Place:
    """Buffers that share one stretch of memory by being written in place, and the steps that touch any of them."""

    device: str
    nbytes: int
    buffers: list[str]
    steps: list[int] = field(default_factory=list)
    offset: int = 0

    @property
    def first(self) -> int:
        """Position of the first step that touches it."""
        return self.steps[0]

    @property
    def last(self) -> int:
        """Position of the last one."""
        return self.steps[-1]


@dataclass(frozen=True, slots=True)
class Layout:
    """The outcome: steps with the orderings that reuse needs, offsets, arena sizes, in-place pairs."""

    steps: tuple[Step, ...]
    offsets: Mapping[str, int]
    arenas: Mapping[str, int]
    inplace: Mapping[str, str]


def lay_out(
    steps: Sequence[Step], buffers: Mapping[str, Buffer], types: Mapping[str, str], kept: str | None = None
) -> Layout:
    """Place every buffer that need not have memory of its own; ``types`` maps layers to their types.

    ``kept`` is a buffer that is read when the last step has ended.
    """
    touching = _touching(steps)
    if kept in touching:
        touching[kept] = sorted({*touching[kept], len(steps) - 1})
    inplace = _inplace(steps, buffers, touching, types)
    places = _places(buffers, touching, inplace)
    arenas = {device: _pack([p for p in places if p.device == device]) for device in {p.device for p in places}}
    offsets = {name: place.offset for place in places for name in place.buffers}
    return Layout(_order_reuse(steps, places), offsets, arenas, inplace)


def locator(buffers: Mapping[str, Buffer], offsets: Mapping[str, int]) -> Mapping[str, tuple[str, int, int]]:
    """Buffer -> (memory, first byte, end) for the race check."""
    found = {}
    for name, buffer in buffers.items():
        if name in offsets:
            start = offsets[name]
            found[name] = (f"arena@{buffer.device}", start, start + max(buffer.nbytes, 1))
        else:
            found[name] = (name, 0, 1)
    return found


def _touching(steps: Sequence[Step]) -> dict[str, list[int]]:
    touching: dict[str, list[int]] = defaultdict(list)
    for position, step in enumerate(steps):
        for name in dict.fromkeys(region.buffer for region in step.args.values()):
            touching[name].append(position)
    return touching


def _inplace(
    steps: Sequence[Step], buffers: Mapping[str, Buffer], touching: Mapping[str, list[int]], types: Mapping[str, str]
) -> dict[str, str]:
    """Pairs (written, read) of whole buffers where the step is the last to touch what it reads."""
    before = precedence(steps)
    pairs: dict[str, str] = {}
    for position, step in enumerate(steps):
        for source, target in _candidates(step, types):
            fits = source.axis is None and target.axis is None and source.buffer not in pairs.values()
            same = buffers[source.buffer].nbytes == buffers[target.buffer].nbytes
            free = not {buffers[r.buffer].kind for r in (source, target)} & set(OWN_MEMORY)
            once = [region.buffer for region in step.args.values()].count(source.buffer) == 1
            others = [p for p in touching[source.buffer] if p != position]
            done = all(before[position] >> p & 1 for p in others)
            if fits and same and free and once and done and touching[target.buffer][0] == position:
                pairs[target.buffer] = source.buffer
    return pairs


def _candidates(step: Step, types: Mapping[str, str]) -> Iterator[tuple[Region, Region]]:
    if step.layer is None or step.op not in ("forward", "backward") or not layer_types()[types[step.layer]].inplace:
        return
    pair = ("x", "y") if step.op == "forward" else ("d_y", "d_x")
    if all(name in step.args for name in pair):
        yield step.args[pair[0]], step.args[pair[1]]


def _places(
    buffers: Mapping[str, Buffer], touching: Mapping[str, list[int]], inplace: Mapping[str, str]
) -> list[Place]:
    roots: dict[str, Place] = {}
    for name, buffer in buffers.items():
        if buffer.kind in OWN_MEMORY or name not in touching:
            continue
        root = name
        while root in inplace:
            root = inplace[root]
        place = roots.setdefault(root, Place(buffer.device, 0, []))
        place.nbytes = max(place.nbytes, aligned(buffer.nbytes))
        place.buffers.append(name)
        place.steps = sorted({*place.steps, *touching[name]})
    return list(roots.values())


def _pack(places: list[Place]) -> int:
    """Give each place the lowest offset free during its life, large ones first; gives the arena's size."""
    done: list[Place] = []
    for place in sorted(places, key=lambda p: (-p.nbytes, p.first)):
        offset = 0
        for other in sorted((o for o in done if _meet(o, place)), key=lambda o: o.offset):
            if offset + place.nbytes <= other.offset:
                break
            offset = max(offset, other.offset + other.nbytes)
        place.offset = offset
        done.append(place)
    return max((place.offset + place.nbytes for place in places), default=0)


def _meet(a: Place, b: Place) -> bool:
    return a.first <= b.last and b.first <= a.last


def _order_reuse(steps: Sequence[Step], places: Sequence[Place]) -> tuple[Step, ...]:
    """Steps with waits added, so that memory is written anew only after its former use has ended."""
    before = precedence(steps)
    extra: dict[int, set[int]] = defaultdict(set)
    for later in places:
        for earlier in places:
            if earlier.device != later.device or not earlier.last < later.first or not _overlap(earlier, later):
                continue
            for use in later.steps:
                extra[use] |= {p for p in earlier.steps if not before[use] >> p & 1}
    return tuple(
        replace(step, after=tuple(dict.fromkeys((*step.after, *(steps[n].name for n in sorted(extra[position]))))))
        for position, step in enumerate(steps)
    )


def _overlap(a: Place, b: Place) -> bool:
    return a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes
