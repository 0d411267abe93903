"""llvmlite's IRBuilder as far as intrinsics use it, on MLIR's dialect "llvm": numba-cuda-mlir takes no LLVM IR.

So that intrinsics are written once, their types and constants are llvmlite's, and ``Value`` adds to MLIR's values,
whose pointers know no element type, the types that llvmlite has of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from llvmlite import ir
from numba_cuda_mlir import types
from numba_cuda_mlir._mlir.dialects import llvm, scf
from numba_cuda_mlir._mlir.ir import (
    F32Type,
    F64Type,
    FloatAttr,
    InsertionPoint,
    IntegerAttr,
    IntegerType,
    Type,
    VectorType,
)
from numba_cuda_mlir.lowering_utilities import GEP_DYNAMIC_INDEX, convert, memref_data_pointer

_PREDICATES = {"==": (0, 0), "!=": (1, 1), "<": (2, 6), "<=": (3, 7), ">": (4, 8), ">=": (5, 9)}
"""Numbers of llvm.icmp's predicates, signed and unsigned."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value of MLIR, or a tuple of them, with its type in llvmlite."""

    value: Any
    type: Any


def lowered(generate: Callable[..., Any], signature: Any, capability: tuple[Any, ...]) -> Callable[..., None]:
    """An intrinsic's code as numba-cuda-mlir takes it; ``generate`` is written for numba-cuda."""

    def lower(lowering: Any, target: Any, args: Sequence[Any], _: Any) -> None:
        given = [
            _given(lowering.load_var(one), lowering.get_numba_type(one.name), kind)
            for one, kind in zip(args, signature.args, strict=True)
        ]
        result = generate(Context(), Builder(capability), signature, given)
        lowering.store_var(target, result and result.value)

    return lower


def _given(value: Any, own: Any, kind: Any) -> Any:
    """An argument in the type of the signature."""
    if isinstance(kind, types.BaseTuple):
        parts = [_given(part, own[number], kind[number]) for number, part in enumerate(value)]
        return _whole(parts)
    if not isinstance(kind, types.Number | types.Boolean):
        return value
    signed = getattr(getattr(own, "literal_type", own), "signed", False)
    wanted = _type(kind)
    return Value(convert(value, _mlir(wanted), signed=signed), wanted)


def _whole(parts: Sequence[Value]) -> Value:
    return Value(tuple(part.value for part in parts), ir.LiteralStructType([part.type for part in parts]))


def _type(kind: Any, stored: bool = False) -> Any:
    """llvmlite's type of a number of the compiler's; a bool takes a byte of memory."""
    if isinstance(kind, types.Boolean):
        return ir.IntType(8 if stored else 1)
    if isinstance(kind, types.Float):
        return {32: ir.FloatType(), 64: ir.DoubleType()}[kind.bitwidth]
    return ir.IntType(kind.bitwidth)


def _mlir(kind: Any) -> Any:
    """MLIR's type of llvmlite's."""
    if isinstance(kind, ir.IntType):
        return IntegerType.get_signless(kind.width)
    if isinstance(kind, ir.VectorType):
        return VectorType.get([kind.count], _mlir(kind.element))
    if isinstance(kind, ir.PointerType):
        return llvm.PointerType.get(kind.addrspace)
    if isinstance(kind, ir.LiteralStructType):
        return Type.parse(f"!llvm.struct<({', '.join(str(_mlir(part)) for part in kind.elements)})>")
    return F32Type.get() if isinstance(kind, ir.FloatType) else F64Type.get()


def _raw(value: Any) -> Any:
    """MLIR's value, also of a constant of llvmlite."""
    if isinstance(value, Value):
        return value.value
    kind, number = _mlir(value.type), value.constant
    if isinstance(value.type, ir.VectorType):
        return llvm.mlir_undef(kind) if number is ir.Undefined else llvm.mlir_zero(kind)
    if isinstance(value.type, ir.IntType):
        bits = number & (1 << value.type.width) - 1
        signed = bits - (bits >> value.type.width - 1 << value.type.width)
        return llvm.ConstantOp(kind, IntegerAttr.get(kind, signed)).result
    return llvm.ConstantOp(kind, FloatAttr.get(kind, number)).result


class Context:
    """What intrinsics ask numba-cuda's target context."""

    def make_array(self, kind: Any) -> Callable[..., Any]:
        """A function of (context, builder, array) whose result has the address of the first element as ``data``."""

        def made(_: Any, builder: Any, array: Any) -> Any:
            place = memref_data_pointer(array)  # memref_to_llvm_ptr takes a device function's arrays for global memory
            return SimpleNamespace(data=Value(place, ir.PointerType(_type(kind.dtype, stored=True))))

        return made

    def make_tuple(self, builder: Any, kind: Any, parts: Sequence[Any]) -> Value:
        """The tuple of these values."""
        return _whole([Value(_raw(part), part.type) for part in parts])

    def get_dummy_value(self) -> None:
        """What an intrinsic without a result returns."""


def _binary(name: str, *flags: Any) -> Callable[..., Value]:
    def build(_: Any, a: Any, b: Any) -> Value:
        return Value(getattr(llvm, name)(_raw(a), _raw(b), *flags), a.type)

    return build


def _cast(name: str) -> Callable[..., Value]:
    def build(_: Any, value: Any, kind: Any) -> Value:
        raw, wanted = _raw(value), _mlir(kind)
        return Value(raw if raw.type == wanted else getattr(llvm, name)(wanted, raw), kind)

    return build


class Builder:
    """The instructions; ``architecture`` is __CUDA_ARCH__ of the card that it is compiled for."""

    def __init__(self, capability: tuple[Any, ...]) -> None:
        self.architecture = ir.IntType(32)(100 * capability[0] + 10 * capability[1])

    and_, or_, xor, lshr, udiv = (_binary(name) for name in ("and_", "or_", "xor", "lshr", "udiv"))
    add, mul, shl = (_binary(name, 0) for name in ("add", "mul", "shl"))
    fadd = _binary("fadd")
    zext, sext, bitcast, addrspacecast, ptrtoint = (
        _cast(name) for name in ("zext", "sext", "bitcast", "addrspacecast", "ptrtoint")
    )

    def icmp_signed(self, sign: str, a: Any, b: Any) -> Value:
        """A comparison."""
        return Value(llvm.icmp(_PREDICATES[sign][0], _raw(a), _raw(b)), ir.IntType(1))

    def icmp_unsigned(self, sign: str, a: Any, b: Any) -> Value:
        """A comparison of numbers without a sign."""
        return Value(llvm.icmp(_PREDICATES[sign][1], _raw(a), _raw(b)), ir.IntType(1))

    def select(self, condition: Any, a: Any, b: Any) -> Value:
        """One or the other."""
        return Value(llvm.select(_raw(condition), _raw(a), _raw(b)), a.type)

    def fma(self, a: Any, b: Any, c: Any) -> Value:
        """a * b + c of float32, rounded once; in PTX, as the successor's translation to LLVM 7 has no llvm.intr.fma."""
        parts, text = [_raw(a), _raw(b), _raw(c)], "fma.rn.f32 $0, $1, $2, $3;"
        return Value(llvm.inline_asm(_mlir(a.type), parts, text, "=f,f,f,f"), a.type)

    def gep(self, place: Value, indices: Sequence[Any]) -> Value:
        """The address of another element."""
        (index,) = indices
        kind = _mlir(place.type)
        element = _mlir(place.type.pointee)
        return Value(
            llvm.getelementptr(kind, place.value, [_raw(index)], [GEP_DYNAMIC_INDEX], element, 0), place.type
        )

    def load(self, place: Value, align: int) -> Value:
        """What lies at an address."""
        kind = place.type.pointee
        return Value(llvm.load(_mlir(kind), place.value, alignment=align), kind)

    def store(self, value: Any, place: Value, align: int) -> None:
        """Write it there."""
        llvm.store(_raw(value), place.value, alignment=align)

    def insert_element(self, whole: Any, value: Any, index: Any) -> Value:
        """A vector with another element."""
        return Value(llvm.insertelement(_raw(whole), _raw(value), _raw(index)), whole.type)

    def extract_element(self, whole: Value, index: Any) -> Value:
        """An element of a vector."""
        return Value(llvm.extractelement(whole.value, _raw(index)), whole.type.element)

    def extract_value(self, whole: Value, number: int) -> Value:
        """A part of a tuple, or of several results."""
        kind = whole.type.elements[number]
        if isinstance(whole.value, tuple):
            return Value(whole.value[number], kind)
        return Value(llvm.extractvalue(_mlir(kind), whole.value, [number]), kind)

    def call(self, code: Any, args: Sequence[Any], attrs: Sequence[str]) -> Value | None:
        """Inline PTX; MLIR's knows no "convergent": what is one keeps its place as if it had side effects.

        Not so conversions, which need no other threads: one that the card does not have must be dropped.
        """
        kind = code.type.pointee.return_type if hasattr(code.type, "pointee") else code.function_type.return_type
        effects = bool(code.side_effect or (attrs and not code.asm.startswith("cvt.")))
        result = None if isinstance(kind, ir.VoidType) else _mlir(kind)
        found = llvm.inline_asm(result, list(map(_raw, args)), code.asm, code.constraint, has_side_effects=effects)
        return Value(found, kind) if result else None

    @contextmanager
    def if_then(self, condition: Value) -> Iterator[None]:
        """What is built within it runs where the condition holds."""
        branch = scf.IfOp(condition.value)
        with InsertionPoint(branch.then_block):
            yield
            scf.YieldOp([])
