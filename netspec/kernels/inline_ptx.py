"""Code generation for intrinsics with llvmlite: inline PTX, addresses, tuples and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

float32, uint32, int64, void = ir.FloatType(), ir.IntType(32), ir.IntType(64), ir.VoidType()
_GLOBAL, _SHARED, _CONSTANT = 1, 3, 4
"""Address spaces."""


def asm(
    builder: Any,
    text: str,
    result: Any,
    args: Sequence[Any],
    constraints: str,
    moves: bool = True,
    convergent: bool = True,
) -> Any:
    """A call of inline PTX; ``result`` is a type, or several for a list of values. ``moves`` False keeps its place.

    ``convergent``: the compiler may not make it depend on conditions that it did not depend on before.
    """
    several = isinstance(result, list)
    kind = ir.FunctionType(ir.LiteralStructType(result) if several else result, [arg.type for arg in args])
    attributes = ("convergent",) if convergent else ()
    given = builder.call(ir.InlineAsm(kind, text, constraints, side_effect=not moves), args, attrs=attributes)
    return unpack(builder, given, len(result)) if several else given


def architecture(builder: Any) -> Any:
    """__CUDA_ARCH__, 900 for compute capability 9.0: a constant after libNVVM has linked the kernel (__nvvm_reflect).

    Helpers are compiled once in a process, for whichever kernel needs them first; so they must not ask themselves.
    """
    if hasattr(builder, "architecture"):  # that of netspec.kernels.mlir_builder
        return builder.architecture
    module, text = builder.module, bytearray(b"__CUDA_ARCH\0")
    name = module.globals.get("netspec_architecture")
    if name is None:
        name = ir.GlobalVariable(module, ir.ArrayType(ir.IntType(8), len(text)), "netspec_architecture", _CONSTANT)
        name.global_constant, name.linkage = True, "internal"
        name.initializer = ir.Constant(name.value_type, text)
    kind = ir.FunctionType(uint32, [ir.PointerType(ir.IntType(8))])
    reflect = module.globals.get("__nvvm_reflect") or ir.Function(module, kind, "__nvvm_reflect")
    generic = builder.addrspacecast(name, ir.PointerType(name.value_type))
    return builder.call(reflect, [builder.bitcast(generic, ir.PointerType(ir.IntType(8)))])


def convert_bf16x2(builder: Any, low: Any, high: Any) -> Any:
    """Generate the rounding of two float32 to bfloat16, side by side."""
    return asm(builder, "cvt.rn.bf16x2.f32 $0, $2, $1;", uint32, [low, high], "=r,f,f", convergent=False)


def pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """The address of an array's element, by its index in memory."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def vector_pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any, count: int = 4) -> Any:
    """The address of a vector of neighbouring elements."""
    return as_vector(builder, pointer(context, builder, kind, array, index), count)


def as_vector(builder: Any, place: Any, count: int) -> Any:
    """A pointer to an element, cast to a pointer to a vector."""
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
