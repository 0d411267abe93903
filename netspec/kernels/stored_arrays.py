"""Arrays in kernels whose elements are stored as bfloat16 and computed with as float32: their types, and CPU code.

``x[i]`` gives a float32, and ``y[i] = value`` rounds to the nearest, ties to even; ``x.dtype`` is float32's, so that
local arrays of it hold float32. Slices, reshaped and flat arrays are such arrays again. A kernel's source is the same
for both kinds of storage. netspec.kernels.stored_bfloat16 has what GPUs need.
"""

from __future__ import annotations

import operator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.boxing import unbox_array
from numba.core.datamodel.models import ArrayModel, PrimitiveModel
from numba.core.typing.arraydecl import get_array_index_type
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global, signature
from numba.extending import register_model, unbox

_SOURCE = blake2b(Path(__file__).read_bytes(), digest_size=8).hexdigest()
_NAME = f"stored_bfloat16_{_SOURCE}"
"""This file decides machine code: so its hash is in the keys of caches."""
_BITS, _WORD, _FLOAT = ir.IntType(16), ir.IntType(32), ir.FloatType()


class StoredBfloat16(types.Float):
    """An element: bfloat16 in memory, a float32 in registers. It converts as a float32 does."""

    bitwidth = 32  # type: ignore[misc]

    def __init__(self) -> None:
        types.Number.__init__(self, _NAME)

    def __str__(self) -> str:
        return "single"  # NumPy's other name for float32, which numba asks it for in expressions of arrays

    def cast_python_value(self, value: Any) -> np.float32:
        """A constant of it, as numba's own sums start with one."""
        return np.float32(value)

    def can_convert_to(self, context: Any, other: Any) -> Any:
        """As float32."""
        return context.can_convert(types.float32, other)

    def can_convert_from(self, context: Any, other: Any) -> Any:
        """As float32."""
        return None if other is self else context.can_convert(other, types.float32)


class StoredArray(types.Array):
    """An array of such elements."""

    def __init__(self, axes: int, layout: Any, readonly: bool = False) -> None:
        access = "readonly" if readonly else "mutable"
        super().__init__(StoredBfloat16(), axes, layout, readonly, f"array({_NAME}, {axes}d, {layout}, {access})")

    def copy(self, dtype: Any = None, ndim: int | None = None, layout: Any = None, readonly: Any = None) -> Any:
        """The type of a view, or of an array of another dtype."""
        if dtype not in (None, StoredBfloat16()):
            return super().copy(dtype, ndim, layout, readonly)
        axes = self.ndim if ndim is None else ndim
        return StoredArray(axes, layout or self.layout, not self.mutable if readonly is None else readonly)


def holds_bfloat16(kind: Any) -> bool:
    """Whether a compiler's type is such an array."""
    return isinstance(kind, StoredArray)


def read_as_float32(signature: Any, array: Any, index: Any, found: Any) -> Any:
    """The signature of ``array[index]`` where that is an element of such an array; ``found``: how numba indexes it.

    ``signature`` makes one for the compiler that asks: numba-cuda has its own.
    """
    if holds_bfloat16(array) and found is not None and found.result == StoredBfloat16():
        return signature(types.float32, array, found.index)
    flat = isinstance(array, types.NumpyFlatType) and holds_bfloat16(array.array_type)
    return signature(types.float32, array, types.intp) if flat and isinstance(index, types.Integer) else None


# What numba's compiler for CPUs is told of the two types -------------------------------------------------------------


@register_model(StoredBfloat16)
class _ElementModel(PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOAT)

    def get_data_type(self) -> Any:
        return _BITS

    def as_data(self, builder: Any, value: Any) -> Any:
        return _rounded(builder, value)

    def from_data(self, builder: Any, value: Any) -> Any:
        return builder.bitcast(builder.shl(builder.zext(value, _WORD), _WORD(16)), _FLOAT)


def _rounded(builder: Any, value: Any) -> Any:
    """Generate the bfloat16 nearest to a float32, ties to even; NaN stays NaN.

    In whole numbers: loops of them are vectorised on every processor, LLVM's own conversion in fours alone, and
    processors' instructions for it take denormal numbers for zeros.
    """
    bits = builder.bitcast(value, _WORD)
    odd = builder.and_(builder.lshr(bits, _WORD(16)), _WORD(1))
    nearest = builder.add(bits, builder.add(odd, _WORD(0x7FFF)))
    is_nan = builder.fcmp_unordered("uno", value, value)
    quiet = builder.or_(bits, _WORD(0x400000))
    return builder.trunc(builder.lshr(builder.select(is_nan, quiet, nearest), _WORD(16)), _BITS)


register_model(StoredArray)(ArrayModel)


@infer_getattr
class _ArrayAttributes(AttributeTemplate):  # type: ignore[misc]
    key = StoredArray

    def resolve_dtype(self, array: Any) -> Any:
        return types.DType(types.float32)


@infer_global(operator.getitem)
class _Read(AbstractTemplate):  # type: ignore[misc]
    """An element is a float32 where it is read; how it is read is numba's."""

    metadata = {"target": "cpu"}  # asked before numba's own

    def generic(self, args: Any, keywords: Any) -> Any:
        array, index = args
        found = get_array_index_type(array, index) if holds_bfloat16(array) else None
        return read_as_float32(signature, array, index, found)


@unbox(StoredArray)  # type: ignore[untyped-decorator]
def _from_python(kind: Any, value: Any, c: Any) -> Any:
    words = types.Array(types.uint16, kind.ndim, kind.layout, not kind.mutable)
    return unbox_array(words, value, c)
