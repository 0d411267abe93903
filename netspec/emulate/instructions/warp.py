"""Warp-level collectives (shuffles, votes, warp barriers) and barriers of the block (PTX ISA 9.7.9, 9.7.13)."""

from __future__ import annotations

from typing import Any

import numpy as np

from netspec.emulate.frame import Bind, Frame, Steps
from netspec.emulate.memory import Array
from netspec.emulate.ptx.operands import Immediate, Operand, Pair
from netspec.emulate.ptx.syntax_tree import Instruction

WARP = 32
_FULL = 0xFFFFFFFF
_MASKED = {"shfl", "vote", "match", "redux", "elect"}
GROUP = 128
"""Threads of a warpgroup."""
_ALIGNED = {"mma", "ldmatrix", "stmatrix", "wgmma", "setmaxnreg"}


def is_block_barrier(ins: Instruction) -> bool:
    """Whether it is a barrier of the thread block; Fault for kinds that are not implemented."""
    if ins.name not in ("bar", "barrier") or "warp" in ins.modifiers or "cluster" in ins.modifiers:
        return False
    words = [word for word in ins.modifiers if word not in ("cta", "aligned")]
    if words == ["arrive"]:
        return False
    if words != ["sync"] or len(ins.operands) != 1 or ins.guard is not None:
        raise ins.fault("a barrier of this kind is not known here")
    if not isinstance(ins.operands[0], Immediate):
        raise ins.fault("a barrier named by a register is not known here")
    return True


def barrier_name(ins: Instruction | None) -> int | None:
    """The number of the barrier that an instruction names."""
    operand = ins.operands[0] if ins else None
    return int(operand.value) if isinstance(operand, Immediate) else None


def is_collective(ins: Instruction) -> bool:
    """Whether lanes of a warp must have converged for it."""
    if ins.guard is not None and (ins.name in _MASKED or ins.name in _ALIGNED):
        raise ins.fault("an instruction of a whole warp with a guard is not known here")
    return ins.name in _MASKED or ins.name in _ALIGNED or (ins.name == "bar" and "warp" in ins.modifiers)


def _members(ins: Instruction) -> Operand | None:
    return ins.operands[-1] if ins.name in _MASKED or ins.name == "bar" else None


def is_full(ins: Instruction) -> bool:
    """Whether its member mask is a constant that names all lanes."""
    members = _members(ins) if is_collective(ins) else None
    return members is None or (isinstance(members, Immediate) and int(members.value) & _FULL == _FULL)


def group_size(ins: Instruction) -> int:
    """Threads that must have converged: a warp or a warpgroup."""
    return GROUP if ins.name in ("wgmma", "setmaxnreg") else WARP


def by_warp(mask: Array, per_block: int, size: int = WARP) -> Array:
    """A mask (threads,) as rows (warps, size); lanes that a block's last warp lacks are False."""
    blocks = mask.reshape(-1, per_block)
    spare = -per_block % size
    if spare:
        blocks = np.pad(blocks, ((0, 0), (0, spare)))
    return blocks.reshape(-1, size)


def _per_thread(rows: Array, per_block: int, size: int = WARP) -> Any:
    """A value of each warp, repeated for its threads."""
    whole = np.repeat(rows, size).reshape(-1, -(-per_block // size) * size)
    return whole[:, :per_block].reshape(-1)


def converged_lanes(frame: Frame, ins: Instruction, parked: Array, alive: Array) -> Any:
    """Waiting threads for which all live lanes of the instruction's member mask have arrived."""
    size = group_size(ins)
    here, living = (by_warp(mask, frame.per_block, size) for mask in (parked, alive))
    if is_full(ins):
        complete = (here == living).all(axis=1) & here.any(axis=1)
        return parked & _per_thread(complete, frame.per_block, size)
    members = _members(ins)
    assert members is not None
    named = np.broadcast_to(frame.read(members, "b32"), (frame.count,))
    lane = frame.thread % np.uint32(WARP)
    strangers = parked & ((named >> lane) & np.uint32(1) == 0)
    if strangers.any():
        raise ins.fault("is not among the lanes that it names", "lanes", frame.thread_name(int(strangers.argmax())))
    weights = np.uint32(1) << np.arange(WARP, dtype=np.uint32)
    missing = ((living & ~here) * weights).sum(axis=1, dtype=np.uint32)
    absent = _per_thread(missing, frame.per_block)
    return parked & (named & absent == 0)


def barrier(ins: Instruction) -> Bind:
    """``bar.warp.sync members``"""

    def bind(frame: Frame) -> Steps:
        def run() -> None:
            if frame.checked:
                frame.races.warp_barrier(frame.active())

        return run, run

    return bind


def shuffle(ins: Instruction) -> Bind:
    """``shfl.sync.mode.b32 d|p, a, b, c, members``"""
    mode, *rest = [word for word in ins.modifiers if word != "sync"]
    if mode not in ("up", "down", "bfly", "idx") or rest != ["b32"]:
        raise ins.fault("a shuffle of this kind is not known here")
    target, source, amount, clamp, _ = ins.operands
    result, flag = (target.first, target.second) if isinstance(target, Pair) else (target, None)

    def bind(frame: Frame) -> Steps:
        values, out = frame.read(source, "b32"), frame.write(result, "b32")
        passed = frame.write(flag, "pred") if flag is not None else None
        b, c = frame.read(amount, "b32"), frame.read(clamp, "b32")
        everyone = np.arange(frame.count)
        lane = (frame.thread % np.uint32(WARP)).astype(np.int64)

        def run() -> None:
            where, inside = _source_lanes(mode, lane, b.astype(np.int64) & 31, c.astype(np.int64))
            sources = everyone + (where - lane)
            mine = everyone if frame.lanes is None else frame.lanes
            sources = np.broadcast_to(sources, everyone.shape)[mine]
            _check_sources(frame, ins, mine, sources)
            taken = np.broadcast_to(values, everyone.shape)[sources]
            out[mine] = taken
            if passed is not None:
                passed[mine] = np.broadcast_to(inside, everyone.shape)[mine]

        return run, run

    return bind


def _source_lanes(mode: str, lane: Array, b: Array, c: Array) -> tuple[Array, Array]:
    """Source lane of each lane, and whether it lies in the lane's segment (PTX ISA, shfl.sync, semantics)."""
    clamp, segment = c & 31, c >> 8 & 31
    last = lane & segment | clamp & ~segment
    first = lane & segment
    wanted: Any = {"up": lane - b, "down": lane + b, "bfly": lane ^ b, "idx": first | b & ~segment}[mode]
    inside = wanted >= last if mode == "up" else wanted <= last
    return np.where(inside, wanted, lane), inside


def _check_sources(frame: Frame, ins: Instruction, mine: Array, sources: Array) -> None:
    """Fault where the source lane takes no part: its value is undefined."""
    if frame.lanes is None and frame.per_block % WARP == 0:
        return
    outside = (sources < 0) | (sources >= frame.count)
    safe = np.where(outside, 0, sources)
    taking = np.zeros(frame.count, bool)
    taking[mine] = True
    bad = outside | ~taking[safe] | (frame.block[safe] != frame.block[mine])
    if bad.any():
        raise ins.fault("asks a lane that does not take part", "lanes", frame.thread_name(int(mine[bad.argmax()])))


def elect(ins: Instruction) -> Bind:
    """``elect.sync d|p, members``: the first of a warp's active lanes."""
    result = ins.operands[0]
    assert ins.modifiers == ("sync",) and isinstance(result, Pair)

    def bind(frame: Frame) -> Steps:
        leader, is_leader = frame.write(result.first, "u32"), frame.write(result.second, "pred")

        def run() -> None:
            mine = frame.active()
            warps = frame.block[mine] * frame.per_block + frame.thread[mine] // WARP
            _, first, which = np.unique(warps, return_index=True, return_inverse=True)
            leader[mine] = (frame.thread[mine] % WARP)[first][which]
            is_leader[mine] = np.isin(np.arange(len(mine)), first)

        return run, run

    return bind


def vote(ins: Instruction) -> Bind:
    """``vote.sync.mode d, p, members``"""
    mode, kind = ins.modifiers[-2:]
    if mode not in ("all", "any", "uni", "ballot") or "sync" not in ins.modifiers:
        raise ins.fault("a vote of this kind is not known here")
    target, source, members = ins.operands

    def bind(frame: Frame) -> Steps:
        given = frame.predicate(source)
        out = frame.write(target, kind)
        weights = np.uint32(1) << np.arange(WARP, dtype=np.uint32)

        def run() -> None:
            active = np.ones(frame.count, bool) if frame.lanes is None else frame.mask
            named = np.broadcast_to(frame.read(members, "b32"), (frame.count,))
            yes = np.broadcast_to(given(), (frame.count,)) & active
            for pattern in np.unique(named[active]):
                own = active & (named == pattern)
                ballots = (by_warp(yes & own, frame.per_block) * weights).sum(axis=1, dtype=np.uint32)
                present = (by_warp(own, frame.per_block) * weights).sum(axis=1, dtype=np.uint32)
                answers = {
                    "ballot": ballots,
                    "any": ballots != 0,
                    "all": ballots == present,
                    "uni": (ballots == 0) | (ballots == present),
                }[mode]
                each = _per_thread(answers, frame.per_block)
                np.copyto(out, each, where=own)

        return run, run

    return bind
