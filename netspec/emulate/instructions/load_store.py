"""Loads and stores (PTX ISA 9.7.9): ld and st of all state spaces, scalar and vector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from netspec.emulate.fault import Fault, Kind
from netspec.emulate.frame import DTYPES, LOCAL_WINDOW, SHARED_WINDOW, Bind, Frame, Steps
from netspec.emulate.memory import IN_FLIGHT, INITIALISED, STATES, UNALLOCATED, UNINITIALISED, AddressSpace, Array
from netspec.emulate.ptx.operands import Address, Operand, Vector
from netspec.emulate.ptx.syntax_tree import SIZES, Instruction

FULL = {size: int.from_bytes(bytes([INITIALISED]) * min(size, 8), "little") for size in (1, 2, 4, 8, 16)}
"""The state of a fully initialised row, by its size in bytes."""
_HINTS = {"nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "volatile", "relaxed", "weak", "gpu", "cta", "sys"}
"""Modifiers without effect here: cache hints, and orderings that hold anyway in lockstep."""
_SPACES = {"global", "shared", "local", "const", "param"}


class SpaceAccess(NamedTuple):
    """An access by the threads whose addresses lie in one space: offsets, thread indices, positions in the list."""

    space: AddressSpace
    offsets: Array
    lanes: Array | None
    chosen: Array | None


class Moved(NamedTuple):
    """What a load or store moves: state space ("" for generic), element type, vector length."""

    space: str
    type: str
    parts: int
    strong: bool
    """Volatile or relaxed: no data race with other strong accesses."""

    @property
    def size(self) -> int:
        """Bytes a thread."""
        return SIZES[self.type] * self.parts


def load(ins: Instruction) -> Bind:
    """``ld.space.type d, [a]``"""
    kind = _kind(ins)
    size = kind.size
    targets, address = _parts(ins.operands[0], kind), ins.operands[1]
    assert isinstance(address, Address)
    if kind.space == "param":
        return lambda frame: _load_parameter(frame, ins, kind, targets, address)

    def bind(frame: Frame) -> Steps:
        results = [_register(frame, target, kind.type) for target in targets]
        addresses = frame.addresses(address)
        element = DTYPES[kind.type if not kind.type.startswith(("f", "b")) else f"b{8 * SIZES[kind.type]}"]

        def run() -> None:
            lanes = frame.lanes
            for access in resolved(frame, kind.space, addresses(), lanes, size, ins):
                rows = check(frame, access, size, ins, reads=True)
                if frame.checked and access.space is not frame.local:
                    frame.races.read(access.space, size, rows, access.lanes, ins.line, kind.strong)
                values = access.space.words(size, element)[rows]
                for number, result in enumerate(results):
                    part = values if kind.parts == 1 else values[:, number]
                    if access.lanes is None:
                        result[:] = part
                    else:
                        result[access.lanes] = part

        return run, run

    return bind


def store(ins: Instruction) -> Bind:
    """``st.space.type [a], b``"""
    kind = _kind(ins)
    size = kind.size
    address, sources = ins.operands[0], _parts(ins.operands[1], kind)
    assert isinstance(address, Address)
    if kind.space in ("param", "const"):
        raise ins.fault(f"a kernel cannot write to .{kind.space}")

    def bind(frame: Frame) -> Steps:
        element = f"b{8 * SIZES[kind.type]}"
        values = [np.broadcast_to(frame.read(source, element), (frame.count,)) for source in sources]
        addresses = frame.addresses(address)

        def run() -> None:
            lanes = frame.lanes
            for access in resolved(frame, kind.space, addresses(), lanes, size, ins):
                rows = check(frame, access, size, ins, reads=False)
                if frame.checked and access.space is not frame.local:
                    change = frame.races.atomic if kind.strong else frame.races.write
                    change(access.space, size, rows, access.lanes, ins.line)
                if frame.kernel.asynchronous and access.space is frame.shared:
                    frame.products.wrote(size, rows, access.lanes)
                data = access.space.words(size, DTYPES[element])
                parts = values if access.lanes is None else [value[access.lanes] for value in values]
                data[rows] = parts[0] if kind.parts == 1 else np.stack(parts, axis=1)

        return run, run

    return bind


def _kind(ins: Instruction) -> Moved:
    space, count = "", 1
    for word in ins.modifiers[:-1]:
        word = word.partition("::")[0]
        if word in _SPACES:
            space = word
        elif word in ("v2", "v4"):
            count = int(word[1])
        elif word not in _HINTS:
            raise ins.fault(f"'.{word}' of {ins.name} is not known here")
    if ins.modifiers[-1] not in DTYPES:
        raise ins.fault(f"type '.{ins.modifiers[-1]}' is not known here")
    strong = bool({"volatile", "relaxed"} & set(ins.modifiers))
    return Moved(space, ins.modifiers[-1], count, strong)


def _parts(operand: Operand, kind: Moved) -> tuple[Operand, ...]:
    parts = operand.parts if isinstance(operand, Vector) else (operand,)
    assert len(parts) == kind.parts
    return parts


def _register(frame: Frame, target: Operand, kind: str) -> Array:
    """The destination in its own width: a loaded value is sign- or zero-extended."""
    width = frame.register(target.name).itemsize if hasattr(target, "name") and target.name != "_" else SIZES[kind]
    if kind[0] in "fb" and width == SIZES[kind]:
        return frame.write(target, f"b{8 * width}")
    return frame.write(target, f"{'s' if kind[0] == 's' else 'u'}{8 * width}")


def _load_parameter(frame: Frame, ins: Instruction, kind: Moved, targets: tuple[Operand, ...], at: Address) -> Steps:
    if frame.is_register(at.base):
        raise ins.fault("addresses of parameters in registers are not known here")
    place = int(frame.addresses(at)()[0])
    if place + kind.size > frame.parameters.size:
        raise ins.fault("reads behind the parameters")
    values = frame.parameters[place : place + kind.size].view(DTYPES[kind.type])
    results = [_register(frame, target, kind.type) for target in targets]
    if kind.type[0] == "f":
        values = values.view(f"u{SIZES[kind.type]}")

    def whole() -> None:
        for result, value in zip(results, values, strict=True):
            result[:] = value

    def masked() -> None:
        for result, value in zip(results, values, strict=True):
            result[frame.mask] = value

    return whole, masked


def resolved(
    frame: Frame, space: str, addresses: Array, lanes: Array | None, size: int, ins: Instruction
) -> Iterator[SpaceAccess]:
    """The accesses, split by address space; Fault where an address lies in none."""
    if space in ("global", "const", ""):
        generic = not space and _in_windows(addresses)
        if not generic:
            yield from _global(frame, addresses, lanes, size, ins, None)
            return
        yield from _generic(frame, addresses, lanes, size, ins)
    elif space == "shared":
        yield _shared(frame, addresses, lanes, size, ins, None)
    else:
        yield _local(frame, addresses, lanes, size, ins, None)


def _in_windows(addresses: Array) -> bool:
    """Whether some of the generic addresses may lie in the windows of shared and local memory."""
    window = addresses >> 40
    return bool(np.count_nonzero(window < 3) and np.count_nonzero(window > 0))


def _generic(frame: Frame, addresses: Array, lanes: Array | None, size: int, ins: Instruction) -> Iterator[SpaceAccess]:
    number = np.arange(frame.count) if lanes is None else lanes
    window = addresses >> 40
    for base, cut in ((SHARED_WINDOW, _shared), (LOCAL_WINDOW, _local)):
        chosen = np.flatnonzero(window == base >> 40)
        if chosen.size:
            yield cut(frame, addresses[chosen] - base, number[chosen], size, ins, chosen)
    rest = np.flatnonzero((window != SHARED_WINDOW >> 40) & (window != LOCAL_WINDOW >> 40))
    if rest.size:
        yield from _global(frame, addresses[rest], number[rest], size, ins, rest)


def _global(
    frame: Frame, addresses: Array, lanes: Array | None, size: int, ins: Instruction, chosen: Array | None
) -> Iterator[SpaceAccess]:
    main = frame.memory.main
    offsets = addresses - main.base
    outside = offsets.view(np.uint64) > np.uint64(main.nbytes - size)
    if not np.count_nonzero(outside):
        yield SpaceAccess(main, offsets, lanes, chosen)
        return
    number = np.arange(frame.count) if lanes is None else lanes
    taken = np.zeros(len(addresses), bool)
    for space in frame.memory.spaces:
        inside = np.flatnonzero((addresses - space.base).view(np.uint64) <= np.uint64(space.nbytes - size))
        if inside.size:
            taken[inside] = True
            picked = inside if chosen is None else chosen[inside]
            yield SpaceAccess(space, addresses[inside] - space.base, number[inside], picked)
    if not taken.all():
        place = int(taken.argmin())
        raise _outside(frame, ins, "global memory", int(addresses[place]), int(number[place]), size)


def _shared(
    frame: Frame, addresses: Array, lanes: Array | None, size: int, ins: Instruction, chosen: Array | None
) -> SpaceAccess:
    stride = frame.shared_stride
    _within(frame, ins, "shared memory", addresses, lanes, size, stride if frame.shared.nbytes else 0)
    block = frame.block if lanes is None else frame.block[lanes]
    return SpaceAccess(frame.shared, addresses + block * stride if len(frame.blocks) > 1 else addresses, lanes, chosen)


def _local(
    frame: Frame, addresses: Array, lanes: Array | None, size: int, ins: Instruction, chosen: Array | None
) -> SpaceAccess:
    stride = frame.local_stride
    _within(frame, ins, "local memory", addresses, lanes, size, stride if frame.local.nbytes else 0)
    number = np.arange(frame.count) if lanes is None else lanes
    return SpaceAccess(frame.local, addresses + number * stride, lanes, chosen)


def _within(
    frame: Frame, ins: Instruction, name: str, addresses: Array, lanes: Array | None, size: int, limit: int
) -> None:
    outside = addresses.view(np.uint64) + np.uint64(size) > np.uint64(limit)
    if np.count_nonzero(outside):
        place = int(outside.argmax())
        raise _outside(frame, ins, name, int(addresses[place]), place if lanes is None else int(lanes[place]), size)


def check(frame: Frame, access: SpaceAccess, size: int, ins: Instruction, reads: bool) -> Array:
    """Rows of ``size`` bytes that are accessed; Fault where they must not be. Writes mark them as initialised."""
    offsets = access.offsets
    if size > 1 and int(np.bitwise_or.reduce(offsets)) & (size - 1):
        place = int((offsets % size != 0).argmax())
        raise _bad(frame, access, place, ins, "unaligned", f"is no multiple of the access's {size} bytes", size)
    rows: Array = offsets >> (size.bit_length() - 1)
    states = access.space.states(size)
    found = states[rows]
    if np.count_nonzero(found != FULL[size]):
        _check_bytes(frame, access, found, size, ins, (INITIALISED,) if reads else (INITIALISED, UNINITIALISED))
        if not reads:
            states[rows] = FULL[size]
    return rows


def _check_bytes(
    frame: Frame, access: SpaceAccess, found: Array, size: int, ins: Instruction, allowed: tuple[int, ...]
) -> None:
    each = np.ascontiguousarray(found).view(np.uint8).reshape(len(access.offsets), size)
    bad = each != allowed[0]
    for state in allowed[1:]:
        bad &= each != state
    if bad.any():
        place = int(np.flatnonzero(bad.any(axis=1))[0])
        state = int(each[place][bad[place].argmax()])
        kind: Kind = "outside" if state == UNALLOCATED else "uninitialised"
        raise _bad(frame, access, place, ins, kind, f"is {STATES.get(state, STATES[IN_FLIGHT])}", size)


def _bad(frame: Frame, access: SpaceAccess, place: int, ins: Instruction, kind: Kind, words: str, size: int) -> Fault:
    thread = frame.thread_name(place if access.lanes is None else int(access.lanes[place]))
    address = frame.own_address(access.space, int(access.offsets[place]))
    at = frame.place(access.space.name, address, size)
    return ins.fault(f": {access.space.name} at {address:#x} {words}", kind, thread, at, words=words)


def _outside(frame: Frame, ins: Instruction, name: str, address: int, thread: int, size: int) -> Fault:
    message = f": {size} bytes at {address:#x} are outside {name}"
    at = frame.place(name, address, size)
    return ins.fault(message, "outside", frame.thread_name(thread), at, words="is outside every allocation")
