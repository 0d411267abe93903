"""Moves, logic, shifts, comparisons and selections (PTX ISA 9.7.6 to 9.7.9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from netspec.emulate.frame import DTYPES, LOCAL_WINDOW, SHARED_WINDOW, Bind, Frame, Step, Steps, computed, ufunc
from netspec.emulate.instructions.floats import flushed
from netspec.emulate.memory import Array
from netspec.emulate.ptx.operands import Operand, Pair, Vector
from netspec.emulate.ptx.syntax_tree import SIZES, Instruction

_LOGIC = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.bitwise_not}
_LOGIC_OF_PREDICATES = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor, "not": np.logical_not}
_COMPARE: dict[str, Any] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
_UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
_WINDOWS = {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW, "global": 0, "const": 0, "param": 0}


def _logic(ins: Instruction) -> Bind:
    (kind,) = ins.modifiers
    if kind[0] != "b" and kind != "pred":
        raise ValueError(f"type .{kind}")
    function = (_LOGIC_OF_PREDICATES if kind == "pred" else _LOGIC)[ins.name]

    def bind(frame: Frame) -> Steps:
        target = frame.write(ins.operands[0], kind)
        return ufunc(frame, function, target, *(frame.read(one, kind) for one in ins.operands[1:]))

    return bind


def _lop3(ins: Instruction) -> Bind:
    assert ins.modifiers == ("b32",)

    def bind(frame: Frame) -> Steps:
        a, b, c = (frame.read(one, "b32") for one in ins.operands[1:4])
        table = int(frame.read(ins.operands[4], "b32")[0])
        rows = [place for place in range(8) if table >> place & 1]

        def compute() -> Array:
            result = np.zeros(frame.count, np.uint32)
            for place in rows:
                terms = (x if place & bit else ~x for x, bit in ((a, 4), (b, 2), (c, 1)))
                x, y, z = terms
                result |= x & y & z
            return result

        return computed(frame, frame.write(ins.operands[0], "b32"), compute)

    return bind


def _shift(ins: Instruction) -> Bind:
    """Shift amounts are clamped to the width."""
    (kind,) = ins.modifiers
    function = np.left_shift if ins.name == "shl" else np.right_shift
    bits = 8 * SIZES[kind]

    def bind(frame: Frame) -> Steps:
        value, amount = frame.read(ins.operands[1], kind), frame.read(ins.operands[2], "u32")
        target = frame.write(ins.operands[0], kind)
        if amount.size == 1:
            limited = np.minimum(amount, bits - 1 if kind[0] == "s" else bits).astype(value.dtype)
            return ufunc(frame, function, target, value, limited)
        top = np.uint32(bits - 1 if kind[0] == "s" else bits)
        return computed(frame, target, lambda: function(value, np.minimum(amount, top).astype(value.dtype)))

    return bind


def _funnel(ins: Instruction) -> Bind:
    """shf: funnel shift."""
    direction, mode, kind = ins.modifiers
    assert kind == "b32" and direction in ("l", "r") and mode in ("clamp", "wrap")

    def bind(frame: Frame) -> Steps:
        a, b, c = (frame.read(one, "b32") for one in ins.operands[1:4])

        def compute() -> Any:
            amount = (np.minimum(c, np.uint32(32)) if mode == "clamp" else c & np.uint32(31)).astype(np.uint64)
            both = b.astype(np.uint64) << np.uint64(32) | a
            moved = both << amount >> np.uint64(32) if direction == "l" else both >> amount
            return (moved & np.uint64(0xFFFFFFFF)).astype(np.uint32)

        return computed(frame, frame.write(ins.operands[0], "b32"), compute)

    return bind


def _move(ins: Instruction) -> Bind:
    """mov, of one value, or packing and unpacking of a wide register."""
    (kind,) = ins.modifiers
    target, source = ins.operands

    def bind(frame: Frame) -> Steps:
        if isinstance(target, Vector) and isinstance(source, Vector):
            raise ins.fault("a move from parts to parts is not known here")
        if isinstance(target, Vector):
            return _unpack(frame, kind, target, source)
        if isinstance(source, Vector):
            return _pack(frame, kind, target, source)
        kind_ = kind if kind == "pred" else f"b{8 * SIZES[kind]}"
        value = frame.read(source, kind if kind != "pred" else "pred").view(DTYPES[kind_])
        out = frame.write(target, kind_)
        return lambda: np.copyto(out, value), lambda: np.copyto(out, value, where=frame.mask)

    return bind


def _unpack(frame: Frame, kind: str, target: Vector, source: Operand) -> Steps:
    size = SIZES[kind] // len(target.parts)
    value = frame.read(source, f"b{8 * SIZES[kind]}")
    outs = [frame.write(part, f"b{8 * size}") for part in target.parts]

    def run(where: Any) -> None:
        parts = [(value >> value.dtype.type(8 * size * place)).astype(f"u{size}") for place in range(len(outs))]
        for out, part in zip(outs, parts, strict=True):
            np.copyto(out, part, where=where)

    return lambda: run(True), lambda: run(frame.mask)


def _pack(frame: Frame, kind: str, target: Operand, source: Vector) -> Steps:
    size = SIZES[kind] // len(source.parts)
    parts = [frame.read(part, f"b{8 * size}") for part in source.parts]
    wide = np.dtype(f"u{SIZES[kind]}")

    def compute() -> Any:
        whole: Any = wide.type(0)
        for place, part in enumerate(parts):
            whole = whole | part.astype(wide) << wide.type(8 * size * place)
        return whole

    return computed(frame, frame.write(target, f"b{8 * SIZES[kind]}"), compute)


def _cvta(ins: Instruction) -> Bind:
    """cvta: to generic addresses and back."""
    words = list(ins.modifiers)
    kind = words.pop()
    back = words[0] == "to"
    base = _WINDOWS[words[-1].partition("::")[0]]

    def bind(frame: Frame) -> Steps:
        value, target = frame.read(ins.operands[1], kind), frame.write(ins.operands[0], kind)
        step = np.array([base if not back else -base], np.int64).astype(value.dtype)
        return ufunc(frame, np.add, target, value, step)

    return bind


def _isspacep(ins: Instruction) -> Bind:
    space = ins.modifiers[0].partition("::")[0]

    def bind(frame: Frame) -> Steps:
        value = frame.read(ins.operands[1], "u64")
        window = {"shared": SHARED_WINDOW >> 40, "local": LOCAL_WINDOW >> 40}.get(space)

        def compute() -> Any:
            found = value >> np.uint64(40)
            return found == window if window else (found != 1) & (found != 2)

        return computed(frame, frame.write(ins.operands[0], "pred"), compute)

    return bind


def comparison(word: str, kind: str) -> Callable[[Array, Array], Any]:
    """The comparison of that name; unordered ones of floats hold for NaN too."""
    if word == "num":
        return lambda a, b: ~(np.isnan(a) | np.isnan(b))
    if word == "nan":
        return lambda a, b: np.isnan(a) | np.isnan(b)
    if kind[0] == "f":
        if word == "ne":  # ordered: numpy's holds for what is no number
            return lambda a, b: (a < b) | (a > b)
        if word == "neu":
            return np.not_equal
        if word.endswith("u"):
            ordered = _COMPARE[word[:-1]]
            return lambda a, b: ordered(a, b) | np.isnan(a) | np.isnan(b)
    return _COMPARE[_UNSIGNED.get(word, word)]  # type: ignore[no-any-return]


def _setp(ins: Instruction) -> Bind:
    word, *rest, kind = [one for one in ins.modifiers if one != "ftz"]
    flush = "ftz" in ins.modifiers
    targets = ins.operands[0]
    first, second = (targets.first, targets.second) if isinstance(targets, Pair) else (targets, None)
    relation = comparison(word, kind)
    combine = _LOGIC_OF_PREDICATES[rest[0]] if rest else None

    def bind(frame: Frame) -> Steps:
        a, b = (_flushed(frame.read(one, kind), flush) for one in ins.operands[1:3])
        p = frame.write(first, "pred")
        if isinstance(relation, np.ufunc) and combine is None and second is None and not flush:
            return ufunc(frame, relation, p, a(), b())
        q = frame.write(second, "pred") if second is not None else None
        c = frame.predicate(ins.operands[3]) if combine is not None else None

        def run(where: Any) -> None:
            holds = relation(a(), b())
            fails = ~holds
            if combine is not None and c is not None:
                holds, fails = combine(holds, c()), combine(fails, c())
            np.copyto(p, holds, where=where)
            if q is not None:
                np.copyto(q, fails, where=where)

        return lambda: run(True), lambda: run(frame.mask)

    return bind


def _flushed(value: Array, flush: bool) -> Callable[[], Array]:
    return (lambda: flushed(value)) if flush else lambda: value


def _selp(ins: Instruction) -> Bind:
    (kind,) = ins.modifiers
    bits = f"b{8 * SIZES[kind]}"

    def bind(frame: Frame) -> Steps:
        a, b = (frame.read(one, kind).view(DTYPES[bits]) for one in ins.operands[1:3])
        which = frame.predicate(ins.operands[3])
        return computed(frame, frame.write(ins.operands[0], bits), lambda: np.where(which(), a, b))

    return bind


def _set(ins: Instruction) -> Bind:
    word, out, kind = [one for one in ins.modifiers if one != "ftz"]
    relation = comparison(word, kind)

    def bind(frame: Frame) -> Steps:
        a, b = (frame.read(one, kind) for one in ins.operands[1:3])
        target = frame.write(ins.operands[0], out)
        true = target.dtype.type(1) if out == "f32" else np.array(-1, np.int64).astype(target.dtype)
        return computed(frame, target, lambda: np.where(relation(a, b), true, target.dtype.type(0)))

    return bind


def nothing(ins: Instruction) -> Bind:
    """No-ops: fences and hints."""
    idle: Step = int
    return lambda frame: (idle, idle)


DEFINITIONS: dict[str, Callable[[Instruction], Bind]] = {
    **dict.fromkeys(_LOGIC, _logic),
    **dict.fromkeys(("shl", "shr"), _shift),
    **dict.fromkeys(("membar", "nanosleep", "prefetch", "prefetchu"), nothing),
    "lop3": _lop3,
    "shf": _funnel,
    "mov": _move,
    "cvta": _cvta,
    "isspacep": _isspacep,
    "setp": _setp,
    "selp": _selp,
    "set": _set,
}
