"""Warp-level matrix instructions (PTX ISA 9.7.14): mma.sync for tf32 and bf16, and ldmatrix.

With g = lane // 4 and q = lane % 4 a thread holds, by the ISA's tables of fragments ("Matrix Fragments for
mma.m16n8k8", "... m16n8k16"): of the left matrix rows g and g + 8, of the right one column g, of the sums columns 2 q
and 2 q + 1 of rows g and g + 8. AsyncProducts are exact, and so nearly are sums (float64), which are then rounded to
float32: the hardware keeps fewer bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from netspec.emulate.frame import Bind, Frame, Steps
from netspec.emulate.instructions.load_store import SpaceAccess, check, resolved
from netspec.emulate.instructions.warp import WARP
from netspec.emulate.memory import Array
from netspec.emulate.ptx.operands import Address, Vector
from netspec.emulate.ptx.syntax_tree import Instruction

_SHAPES = {
    ("m16n8k8", "row", "col", "f32", "tf32", "tf32", "f32"): 1,
    ("m16n8k16", "row", "col", "f32", "bf16", "bf16", "f32"): 2,
}
"""Elements of the left and right matrix that a register holds."""
_TF32 = np.uint32(0xFFFFE000)


def whole_warps(frame: Frame, ins: Instruction) -> Callable[[], Array | None]:
    """A function that gives the active warps, None for all; Fault where one is not whole."""
    if frame.per_block % WARP:
        raise ins.fault(f"blocks of {frame.per_block} threads have a warp that is not whole")

    def chosen() -> Array | None:
        if frame.lanes is None:
            return None
        warps = frame.mask.reshape(-1, WARP)
        some = warps.any(axis=1)
        if not warps[some].all():
            thread = int(frame.lanes[0])
            raise ins.fault(": lanes of the warp have ended", "lanes", frame.thread_name(thread))
        return np.flatnonzero(some)

    return chosen


def multiply(ins: Instruction) -> Bind:
    """``mma.sync.aligned.shape.row.col.types d, a, b, c``"""
    assert ins.modifiers[:2] == ("sync", "aligned")
    packed = _SHAPES[ins.modifiers[2:]]  # type: ignore[index]
    parts = [operand.parts for operand in ins.operands if isinstance(operand, Vector)]
    assert [len(one) for one in parts] == [4, 4, 2, 4]

    def bind(frame: Frame) -> Steps:
        sums = [frame.write(one, "f32") for one in parts[0]]
        left, right = ([frame.read(one, "b32") for one in which] for which in parts[1:3])
        before = [frame.read(one, "f32") for one in parts[3]]
        chosen = whole_warps(frame, ins)

        def run() -> None:
            warps = chosen()
            a = left_matrix([_by_warp(one, warps, frame.count) for one in left], packed)
            b = right_matrix([_by_warp(one, warps, frame.count) for one in right], packed)
            product = np.matmul(a, b).reshape(-1, 2, 8, 4, 2)
            results = [
                product[:, place // 2, :, :, place % 2] + _by_warp(one, warps, frame.count)
                for place, one in enumerate(before)
            ]
            for target, result in zip(sums, results, strict=True):
                whole = target.reshape(-1, 8, 4)
                whole[... if warps is None else warps] = result

        return run, run

    return bind


def _by_warp(register: Array, warps: Array | None, count: int) -> Array:
    """A register as (warps, g, q)."""
    if register.size == 1:
        register = np.broadcast_to(register, (count,))
    whole = register.reshape(-1, 8, 4)
    return whole if warps is None else whole[warps]


def elements(register: Array, packed: int) -> list[Array]:
    """A register's elements as floats; of a tf32 the hardware reads the upper 19 bits alone."""
    if packed == 1:
        return [(register & _TF32).view(np.float32)]
    high = register & np.uint32(0xFFFF0000)
    return [(register << np.uint32(16)).view(np.float32), high.view(np.float32)]


def left_matrix(registers: list[Array], packed: int) -> Any:
    """(warps, 16, terms): register h + 2 k holds rows g + 8 h, terms (q + 4 k) * packed on."""
    count = len(registers[0])
    matrix = np.empty((count, 2, 8, 2, 4, packed))
    for place, register in enumerate(registers):
        for number, values in enumerate(elements(register, packed)):
            matrix[:, place % 2, :, place // 2, :, number] = values
    return matrix.reshape(count, 16, 8 * packed)


def right_matrix(registers: list[Array], packed: int) -> Any:
    """(warps, terms, 8): register k holds terms (q + 4 k) * packed on, of column g."""
    count = len(registers[0])
    matrix = np.empty((count, 2, 4, packed, 8))
    for place, register in enumerate(registers):
        for number, values in enumerate(elements(register, packed)):
            matrix[:, place, :, number, :] = values.transpose(0, 2, 1)
    return matrix.reshape(count, 8 * packed, 8)


def load_matrices(ins: Instruction) -> Bind:
    """``ldmatrix.sync.aligned.m8n8.x4.shared.b16 d, [a]``: lane 8 i + r has the address of row r of matrix i."""
    words = [word.partition("::")[0] for word in ins.modifiers]
    trans = "trans" in words
    assert [word for word in words if word != "trans"][:3] == ["sync", "aligned", "m8n8"]
    assert words[-2:] == ["shared", "b16"]
    target, address = ins.operands
    assert isinstance(address, Address)
    parts = target.parts if isinstance(target, Vector) else (target,)
    assert f"x{len(parts)}" in words

    def bind(frame: Frame) -> Steps:
        results = [frame.write(one, "b32") for one in parts]
        addresses = frame.addresses(address)
        chosen = whole_warps(frame, ins)

        def run() -> None:
            warps = chosen()
            rows = _matrix_rows(frame, ins, addresses(), len(parts))
            halves = rows.reshape(-1, len(parts), 8, 8)
            if trans:
                halves = halves.transpose(0, 1, 3, 2)
            pairs = np.ascontiguousarray(halves).view(np.uint32)  # (warps, matrices, g, q)
            for place, result in enumerate(results):
                result.reshape(-1, 8, 4)[... if warps is None else warps] = pairs[:, place]

        return run, run

    return bind


def store_matrices(ins: Instruction) -> Bind:
    """``stmatrix.sync.aligned.m8n8.x4.shared.b16 [a], {values}``: lane 8 i + r has the address of row r of matrix i."""
    words = [word.partition("::")[0] for word in ins.modifiers]
    trans = "trans" in words
    address, source = ins.operands
    assert isinstance(address, Address)
    parts = source.parts if isinstance(source, Vector) else (source,)
    assert [word for word in words if word != "trans"] == ["sync", "aligned", "m8n8", f"x{len(parts)}", "shared", "b16"]

    def bind(frame: Frame) -> Steps:
        values = [frame.read(one, "b32") for one in parts]
        addresses = frame.addresses(address)
        chosen = whole_warps(frame, ins)

        def run() -> None:
            warps = chosen()
            pairs = np.stack([_by_warp(one, warps, frame.count) for one in values], axis=1)  # (warps, matrices, g, q)
            halves = np.ascontiguousarray(pairs).view(np.uint16)
            if trans:
                halves = np.ascontiguousarray(halves.transpose(0, 1, 3, 2))
            access = _named_rows(frame, ins, addresses(), len(parts))
            rows = check(frame, access, 16, ins, reads=False)
            if frame.checked:
                frame.races.write(access.space, 16, rows, access.lanes, ins.line)
            if frame.kernel.asynchronous:
                frame.products.wrote(16, rows, access.lanes)
            access.space.words(16, np.uint16)[rows] = halves.reshape(-1, 8)

        return run, run

    return bind


def _named_rows(frame: Frame, ins: Instruction, addresses: Array, count: int) -> SpaceAccess:
    """The rows of 16 bytes that the first lanes of each warp name."""
    used = np.arange(len(addresses)) % WARP < 8 * count
    (access,) = resolved(frame, "shared", addresses[used], frame.active()[used], 16, ins)
    return access


def _matrix_rows(frame: Frame, ins: Instruction, addresses: Array, count: int) -> Any:
    """What lies in the rows that the first lanes of each warp name."""
    return shared_rows(frame, ins, _named_rows(frame, ins, addresses, count))


def shared_rows(frame: Frame, ins: Instruction, access: SpaceAccess) -> Any:
    """Rows of 16 bytes of shared memory as halves, checked as loads are."""
    rows = check(frame, access, 16, ins, reads=True)
    if frame.checked:
        frame.races.read(access.space, 16, rows, access.lanes, ins.line)
    return access.space.words(16, np.uint16)[rows]
