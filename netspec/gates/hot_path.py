"""The hot path through a kernel's control-flow graph: the one with the most 128-bit accesses, read from SASS."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

_LINE = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);")
_LABEL = re.compile(r"^(\.L_x_\w+|\$?\w+):")
_TARGET = re.compile(r"`\((\.L_x_\w+)\)")
_REGISTER = re.compile(r"\bR(\d+)\b(\.64)?")
_ACCESS = re.compile(r"^(LDG?|STG?)\.(?:\S*\.)?(128|64|U8|S8|U16|S16)\b")
_FAR = 1 << 20
_Score = tuple[int, int, int]
_BYTES = {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: whether it is conditional, its name such as LDG.E.128, and its operands."""

    guarded: bool
    name: str
    operands: str

    @property
    def loads(self) -> int:
        """Bytes that it loads from the GPU's memory."""
        return _bytes(self.name) if re.match(r"LDG?\.", self.name) else 0

    @property
    def stores(self) -> int:
        """Bytes that it stores to the GPU's memory."""
        return _bytes(self.name) if re.match(r"STG?\.", self.name) else 0

    @property
    def target(self) -> str | None:
        """The label that it branches to."""
        found = _TARGET.search(self.operands) if self.name.startswith("BRA") else None
        return found[1] if found else None

    @property
    def ends(self) -> bool:
        """Whether control never falls through it."""
        return not self.guarded and self.name.partition(".")[0] in ("BRA", "EXIT", "RET")

    def touches(self, registers: set[int]) -> bool:
        """Whether it reads one of these registers (or, which comes to the same, overwrites one)."""
        return any(
            first in registers or (double and first + 1 in registers)
            for first, double in ((int(number), bool(wide)) for number, wide in _REGISTER.findall(self.operands))
        )


def _targets(load: Instruction) -> set[int]:
    """The registers that a load fills."""
    first = _REGISTER.search(load.operands)
    assert first is not None
    return set(range(int(first[1]), int(first[1]) + max(load.loads // 4, 1)))


def _bytes(name: str) -> int:
    found = _ACCESS.match(name)
    return _BYTES[found[2]] if found else 4


@dataclass(slots=True)
class Block:
    """A basic block and its successors."""

    code: list[Instruction] = field(default_factory=list)
    following: list[int] = field(default_factory=list)

    @property
    def wide(self) -> int:
        """Accesses of 128 bits."""
        return sum(max(one.loads, one.stores) == 16 for one in self.code)

    def count(self, name: str) -> int:
        """Instructions whose names begin so."""
        return sum(one.name.startswith(name) for one in self.code)

    @property
    def wide_loads(self) -> int:
        """Loads of 128 bits."""
        return sum(one.loads == 16 for one in self.code)


@dataclass(frozen=True)
class HotPath:
    """Basic blocks along the path, each once, and its loops as (first, last) positions among them."""

    blocks: Sequence[Block]
    loops: Sequence[tuple[int, int]]

    @cached_property
    def code(self) -> tuple[Instruction, ...]:
        """All instructions, those of loops once."""
        return tuple(one for block in self.blocks for one in block.code)

    def rounds(self, loaded: float) -> tuple[float, ...]:
        """Rounds of each loop where a thread loads so many bytes in accesses of 128 bits, each of them once.

        What the code outside of loops loads is taken off; of the rest the loops that load most a round do what they
        can in whole rounds, as unrolled ones do. Raises ValueError for loops whose rounds nothing here tells.
        """
        wide = [16 * sum(block.wide_loads for block in self.blocks[first : last + 1]) for first, last in self.loops]
        inside = [place for first, last in self.loops for place in range(first, last + 1)]
        if not all(wide) or len(inside) != len(set(inside)):
            raise ValueError("a loop without loads of 128 bits, or within another one")
        left = max(loaded - 16 * sum(block.wide_loads for block in self.blocks) + sum(wide), 0.0)
        found = [0.0] * len(wide)
        for number in sorted(range(len(wide)), key=lambda one: -wide[one]):
            last = wide[number] == min(wide)
            found[number] = left / wide[number] if last else left // wide[number]
            left -= found[number] * wide[number]
        return tuple(found)

    def times(self, trips: Sequence[float]) -> list[float]:
        """How often each block runs where the loops, outer ones first, do so many rounds each time they are entered."""
        if len(trips) != len(self.loops):
            raise ValueError(f"the machine code has {len(self.loops)} loops, not {len(trips)}")
        counts = [1.0] * len(self.blocks)
        for (first, last), rounds in zip(self.loops, trips, strict=True):
            for place in range(first, last + 1):
                counts[place] *= rounds
        return counts

    def count(self, trips: Sequence[float], name: str = "") -> float:
        """Instructions that a thread runs, of all kinds or whose names begin so."""
        times = self.times(trips)
        return sum(number * block.count(name) for number, block in zip(times, self.blocks, strict=True))

    def loaded(self, trips: Sequence[float]) -> float:
        """Bytes that a thread loads."""
        times = self.times(trips)
        pairs = zip(times, self.blocks, strict=True)
        return sum(number * sum(one.loads for one in block.code) for number, block in pairs)

    def waits(self, trips: Sequence[float]) -> float:
        """How often a thread waits for loads: all that were started before come with the first that is needed."""
        total, started = 0.0, set[int]()
        for number, block in zip(self.times(trips), self.blocks, strict=True):
            for one in block.code:
                if started and one.touches(started):
                    total, started = total + number, set()
                if one.loads:
                    started |= _targets(one)
        return total

    @cached_property
    def together(self) -> tuple[int, int]:
        """The most loads of 128 bits, and bytes of loads, that are started before the first of them is waited for."""
        best = (0, 0)
        for place, one in enumerate(self.code):
            if one.loads:
                best = max(best, self._from(place), key=lambda found: found[1])
        return best

    def _from(self, place: int) -> tuple[int, int]:
        started: set[int] = set()
        wide = total = 0
        for one in self.code[place:]:
            if one.touches(started):
                break
            if one.loads:
                started |= _targets(one)
                wide, total = wide + (one.loads == 16), total + one.loads
        return wide, total


def hot_path(text: str, loaded: float = math.inf) -> HotPath:
    """The hot path of nvdisasm's listing: most 128-bit accesses, then most barriers, then fewest instructions.

    Past the loops, if so many bytes are loaded without them, which are for threads that have more to do: and then the
    path that loads least beyond these bytes.
    """
    blocks = _blocks(text)
    backward = _backward(blocks)
    least = math.ceil(min(loaded, _FAR) / 16)
    straight = [blocks[place] for place in _path(blocks, backward, _looped(backward), least)]
    if 16 * sum(block.wide_loads for block in straight) >= loaded:
        return HotPath(straight, ())
    path = _path(blocks, backward)
    places = {block: place for place, block in enumerate(path)}
    found: dict[int, int] = {}
    for start, end in backward:
        if start in places and end in places and places[end] <= places[start]:
            found[places[end]] = max(found.get(places[end], 0), places[start])
    return HotPath([blocks[block] for block in path], sorted(found.items()))


def _looped(backward: set[tuple[int, int]]) -> set[int]:
    """The blocks of loops, which lie side by side in the listing."""
    return {place for start, end in backward for place in range(end, start + 1)}


def _blocks(text: str) -> list[Block]:
    blocks, labels = [Block()], {}
    for line in text.splitlines():
        if label := _LABEL.match(line):
            if blocks[-1].code:
                blocks.append(Block())
            labels[label[1]] = len(blocks) - 1
        elif found := _LINE.match(line):
            one = Instruction(bool(found[1]), found[2], found[3])
            blocks[-1].code.append(one)
            if one.target or one.name == "EXIT" or one.ends:
                blocks.append(Block())
    for place, block in enumerate(blocks):
        last = block.code[-1] if block.code else None
        if last is None or not last.ends:
            block.following += [place + 1] if place + 1 < len(blocks) else []
        if last is not None and last.target:
            block.following.append(labels[last.target])
    return blocks


def _backward(blocks: Sequence[Block]) -> set[tuple[int, int]]:
    """Back edges, found by depth-first search."""
    closing: set[tuple[int, int]] = set()
    state: dict[int, str] = {0: "open"}
    stack = [(0, iter(blocks[0].following))]
    while stack:
        place, others = stack[-1]
        for other in others:
            if state.get(other) == "open":
                closing.add((place, other))
            elif other not in state:
                state[other] = "open"
                stack.append((other, iter(blocks[other].following)))
                break
        else:
            state[place] = "done"
            stack.pop()
    return closing


def _path(
    blocks: Sequence[Block], backward: set[tuple[int, int]], past: Collection[int] = (), least: int = _FAR
) -> list[int]:
    """From the first block to an end without closing a loop: most wide accesses, barriers, then fewest instructions.

    No calls, which are what a division does with odd numbers, if it can be. Blocks that it goes ``past`` are on it
    where there is no other way. With as few wide loads as there can be from ``least`` on, if there are so many.
    """
    best: dict[int, dict[int, tuple[_Score, int | None]]] = {}
    """By block and by wide loads from there on: the best score, and the next block."""

    def settle(place: int) -> None:
        own, found = blocks[place], best.setdefault(place, {})
        onward: list[tuple[int, _Score, int | None]] = [
            (count, score, other)
            for other in own.following
            if (place, other) not in backward
            for count, (score, _) in best[other].items()
        ]
        if not onward or (past and own.code and own.code[-1].name == "EXIT"):
            onward.append((0, (0, 0, 0), None))
        for count, score, other in onward:
            score = (score[0] - _FAR if place in past else score[0] + own.wide,
                     score[1] + own.count("BAR"),
                     score[2] - len(own.code) - _FAR * own.count("CALL"))  # fmt: skip
            count += 0 if place in past else own.wide_loads
            if count not in found or score > found[count][0]:
                found[count] = score, other

    for place in _last_first(blocks, backward):
        settle(place)
    enough = [count for count, (score, _) in best[0].items() if count >= least and score[0] >= 0]
    count = min(enough) if enough else max(best[0], key=lambda one: best[0][one][0])
    path: list[int] = []
    following: int | None = 0
    while following is not None:
        path.append(following)
        loads = 0 if following in past else blocks[following].wide_loads
        following, count = best[following][count][1], count - loads
    return path


def _last_first(blocks: Sequence[Block], backward: set[tuple[int, int]]) -> list[int]:
    """Reachable blocks in post-order."""
    order: list[int] = []
    seen = {0}
    stack = [(0, iter(blocks[0].following))]
    while stack:
        place, others = stack[-1]
        for other in others:
            if other not in seen and (place, other) not in backward:
                seen.add(other)
                stack.append((other, iter(blocks[other].following)))
                break
        else:
            order.append(place)
            stack.pop()
    return order
