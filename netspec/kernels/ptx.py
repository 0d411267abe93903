"""How an intrinsic generates code: inline PTX, addresses, tuples and vectors, in terms of llvmlite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

float32, uint32, int64, void = ir.FloatType(), ir.IntType(32), ir.IntType(64), ir.VoidType()
_GLOBAL, _SHARED = 1, 3
"""Address spaces."""


def asm(builder: Any, text: str, result: Any, args: Sequence[Any], constraints: str, moves: bool = True) -> Any:
    """A call of inline PTX; ``result`` is a type, or several for a list of values. ``moves`` False keeps its place.

    It is convergent: the compiler may not make it depend on conditions that it did not depend on before.
    """
    several = isinstance(result, list)
    kind = ir.FunctionType(ir.LiteralStructType(result) if several else result, [arg.type for arg in args])
    given = builder.call(ir.InlineAsm(kind, text, constraints, side_effect=not moves), args, attrs=("convergent",))
    return unpack(builder, given, len(result)) if several else given


def pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """The address of an array's element, counted through its memory."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def vector_pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any, count: int = 4) -> Any:
    """The address of neighbouring elements, to load and store them as one vector."""
    place = pointer(context, builder, kind, array, index)
    return builder.bitcast(place, ir.PointerType(ir.VectorType(place.type.pointee, count), place.type.addrspace))


def address(builder: Any, place: Any, shared: bool = False) -> Any:
    """An address as a number: 64 bits of global memory, or 32 bits of shared memory."""
    space = _SHARED if shared else _GLOBAL
    narrowed = builder.addrspacecast(place, ir.PointerType(place.type.pointee, space))
    return builder.ptrtoint(narrowed, uint32 if shared else int64)


def unpack(builder: Any, whole: Any, count: int) -> list[Any]:
    """The parts of a tuple or vector."""
    if isinstance(whole.type, ir.VectorType):
        return [builder.extract_element(whole, uint32(number)) for number in range(count)]
    return [builder.extract_value(whole, number) for number in range(count)]


def pack(context: Any, builder: Any, signature: Any, parts: Sequence[Any]) -> Any:
    """The tuple that a signature returns."""
    return context.make_tuple(builder, signature.return_type, parts)
