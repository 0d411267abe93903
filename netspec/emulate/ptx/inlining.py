"""Inlining of device functions (PTX ISA 9.7.12.5, call): each call is replaced by a copy of the function's body.

Parameters and results that pass through ``.param`` variables are the caller's variables, under the names that the
function has for them; to the emulator they are local memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count

from netspec.emulate.ptx.operands import Address, Operand, Pair, Register, Symbol, Vector
from netspec.emulate.ptx.syntax_tree import Body, Function, Instruction

Rename = Callable[[str], str]


def inline(body: Body, functions: Mapping[str, Function]) -> None:
    """Inline every call in place; Fault where a function is not in the module or calls itself."""
    numbers = count(1)
    while any(one.name == "call" for one in body.instructions):
        place = next(place for place, one in enumerate(body.instructions) if one.name == "call")
        if next(numbers) > 1000:
            raise body.instructions[place].fault("a function that calls itself is not known here")
        _inline_one(body, place, functions, f"@call{next(numbers)}")


def _inline_one(body: Body, place: int, functions: Mapping[str, Function], mark: str) -> None:
    call = body.instructions[place]
    function, given = _matched(call, functions)
    callee = function.body
    own = {one.name for one in callee.local} - set(function.formal)

    def symbol(name: str) -> str:
        return given.get(name, f"{name}{mark}" if name in own or name in callee.labels else name)

    def register(name: str) -> str:
        return f"{name}{mark}" if name in callee.registers else name

    end = f"{call.name}{mark}"
    copy = [_renamed(_jump(one, end), register, symbol) for one in callee.instructions]
    if call.guard is not None:  # threads that do not call go on behind the copy
        name, wanted = call.guard
        copy.insert(0, Instruction("bra", (), (Symbol(end),), (name, not wanted), call.line, call.text))
    first = len(copy) - len(callee.instructions)
    body.instructions[place : place + 1] = copy
    shifted = {name: at + len(copy) - 1 if at > place else at for name, at in body.labels.items()}
    inner = {symbol(name): place + first + at for name, at in callee.labels.items()}
    body.labels = {**shifted, **inner, end: place + len(copy)}
    body.registers |= {register(name): kind for name, kind in callee.registers.items()}
    body.local += [replace(one, name=symbol(one.name)) for one in callee.local if one.name in own]


def _matched(call: Instruction, functions: Mapping[str, Function]) -> tuple[Function, dict[str, str]]:
    """The callee, and the caller's variables by the callee's parameter names."""
    operands = list(call.operands)
    lists = [
        [part.name for part in one.parts if isinstance(part, Symbol)] for one in operands if isinstance(one, Vector)
    ]
    names = [one.name for one in operands if isinstance(one, Symbol)]
    if len(names) != 1 or names[0] not in functions:
        raise call.fault("a call of a function that is not in the module is not known here")
    function = functions[names[0]]
    actual = [name for one in lists for name in one]
    if len(actual) != len(function.formal):
        raise call.fault(f"{names[0]} takes and gives {len(function.formal)} values, not {len(actual)}")
    return function, dict(zip(function.formal, actual, strict=True))


def _jump(ins: Instruction, end: str) -> Instruction:
    """A return as a branch behind the inlined body."""
    return replace(ins, name="bra", modifiers=(), operands=(Symbol(end),)) if ins.name == "ret" else ins


def _renamed(ins: Instruction, register: Rename, symbol: Rename) -> Instruction:
    guard = ins.guard and (register(ins.guard[0]), ins.guard[1])
    return replace(ins, operands=tuple(_operand(one, register, symbol) for one in ins.operands), guard=guard)


def _operand(operand: Operand, register: Rename, symbol: Rename) -> Operand:
    match operand:
        case Register():
            return replace(operand, name=register(operand.name))
        case Symbol():
            return replace(operand, name=symbol(operand.name))
        case Vector():
            return Vector(tuple(_operand(one, register, symbol) for one in operand.parts))
        case Address(base=Register() | Symbol() as base):
            moved = _operand(base, register, symbol)
            assert isinstance(moved, Register | Symbol)
            return replace(operand, base=moved)
        case Pair():
            return Pair(_operand(operand.first, register, symbol), _operand(operand.second, register, symbol))
        case _:
            return operand
