"""What numba-cuda is told of the arrays that netspec.kernels.stored_arrays describes.

numba's own type bfloat16, and arrays of it, are left as they are: its numbers are no float32, and it needs a C++
compiler for each operation.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba.cuda import types
from numba.cuda.core.errors import TypingError
from numba.cuda.cudadecl import registry as declarations
from numba.cuda.datamodel import PrimitiveModel
from numba.cuda.datamodel.models import ArrayModel
from numba.cuda.models import register_model
from numba.cuda.typing.arraydecl import get_array_index_type
from numba.cuda.typing.templates import AbstractTemplate, AttributeTemplate, signature

from netspec.kernels.inline_ptx import asm, convert_bf16x2, float32, uint32, unpack
from netspec.kernels.stored_arrays import StoredArray, StoredBfloat16, holds_bfloat16, read_as_float32

SOURCE = blake2b(Path(__file__).read_bytes(), digest_size=8).hexdigest()
"""Stands for this file: it decides the code of kernels that do not name it."""
_BITS = ir.IntType(16)


def refuse_bfloat16(name: str, *kinds: Any) -> None:
    """Raise numba's error where an intrinsic that moves elements of 4 bytes is given such an array."""
    if any(map(holds_bfloat16, kinds)):
        raise TypingError(f"{name} moves elements of 4 bytes: it takes no array that is stored as bfloat16")


def read_as(kind: Any) -> Any:
    """The type of what is read from an array."""
    return types.float32 if holds_bfloat16(kind) else kind.dtype


def widened(builder: Any, bits: Any) -> Any:
    """Generate the float32 of a bfloat16."""
    return builder.bitcast(builder.shl(builder.zext(bits, uint32), uint32(16)), float32)


def rounded(builder: Any, value: Any) -> Any:
    """Generate the bfloat16 nearest to a float32, ties to even; NaN stays NaN."""
    return asm(builder, "cvt.rn.bf16.f32 $0, $1;", _BITS, [value], "=h,f", convergent=False)


def load_four(builder: Any, place: Any) -> list[Any]:
    """Generate one access of 8 bytes: four neighbours as float32."""
    pairs = builder.load(builder.bitcast(place, _pairs(place)), align=8)
    return [half for pair in unpack(builder, pairs, 2) for half in _halves(builder, pair)]


def _halves(builder: Any, pair: Any) -> tuple[Any, Any]:
    low, high = builder.shl(pair, uint32(16)), builder.and_(pair, uint32(0xFFFF0000))
    return builder.bitcast(low, float32), builder.bitcast(high, float32)


def store_four(builder: Any, place: Any, values: Sequence[Any]) -> None:
    """Generate one access of 8 bytes: four float32, rounded by two instructions."""
    whole = ir.VectorType(uint32, 2)(ir.Undefined)
    for number in range(2):
        pair = convert_bf16x2(builder, *values[2 * number : 2 * number + 2])
        whole = builder.insert_element(whole, pair, uint32(number))
    builder.store(whole, builder.bitcast(place, _pairs(place)), align=8)


def _pairs(place: Any) -> Any:
    return ir.PointerType(ir.VectorType(uint32, 2), place.type.addrspace)


# What numba-cuda is told of the two types ---------------------------------------------------------------------------


@register_model(StoredBfloat16)
class _ElementModel(PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, float32)

    def get_data_type(self) -> Any:
        return _BITS

    def as_data(self, builder: Any, value: Any) -> Any:
        return rounded(builder, value)

    def from_data(self, builder: Any, value: Any) -> Any:
        return widened(builder, value)


register_model(StoredArray)(ArrayModel)


@declarations.register_attr
class _ArrayAttributes(AttributeTemplate):  # type: ignore[misc]
    key = StoredArray

    def resolve_dtype(self, array: Any) -> Any:
        return types.DType(types.float32)


@declarations.register_global(operator.getitem)
class _Read(AbstractTemplate):  # type: ignore[misc]
    """An element is a float32 where it is read; how it is read is numba's."""

    metadata = {"target": "cuda"}  # asked before numba's own

    def generic(self, args: Any, keywords: Any) -> Any:
        array, index = args
        found = get_array_index_type(array, index) if holds_bfloat16(array) else None
        return read_as_float32(signature, array, index, found)
