"""What intrinsics written as LLVM vectors have in common: their operands are tuples of flat arrays and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types

WIDE = binding.get_host_cpu_features().get("avx512f", False)
"""Whether vector registers hold 16 floats."""
LANES = 16 if WIDE else 8
"""Floats of a vector register."""
LONG = ir.IntType(64)


def operand_types(kinds: Sequence[Any]) -> list[Any]:
    """The types of tuples of arrays and numbers, whose numbers are 64-bit integers."""
    parts = ([part if isinstance(part, types.Array) else types.intp for part in kind] for kind in kinds)
    return [types.BaseTuple.from_types(kind) for kind in parts]


class VectorWriter:
    """Writes the code of one call. ``names`` name the parts of each operand, ``args`` holds arrays as pointers."""

    def __init__(self, context: Any, builder: Any, sig: Any, args: Any, names: Sequence[str]) -> None:
        self.builder = builder
        self.element = context.get_data_type(sig.args[0][0].dtype)
        self.vector = ir.VectorType(self.element, LANES)
        self.args: dict[str, Any] = {}
        for operand, kinds, value in zip(names, sig.args, args, strict=True):
            for place, (name, kind) in enumerate(zip(operand.split(), kinds, strict=True)):
                part = builder.extract_value(value, place)
                is_array = isinstance(kind, types.Array)
                self.args[name] = context.make_array(kind)(context, builder, part).data if is_array else part
        name = f"llvm.fmuladd.v{LANES}{'f32' if self.element == ir.FloatType() else 'f64'}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self.multiply_add = cgutils.get_or_insert_function(builder.module, kind, name)

    def whole(self, value: int) -> Any:
        """A constant."""
        return ir.Constant(LONG, value)

    def at(self, pointer: Any, offset: Any) -> Any:
        """The address of an element."""
        return self.builder.gep(pointer, [offset], source_etype=self.element)

    def load(self, pointer: Any) -> Any:
        """A vector."""
        return self.builder.load(pointer, align=4, typ=self.vector)

    def store(self, value: Any, pointer: Any) -> None:
        """Store a vector."""
        self.builder.store(value, self.builder.bitcast(pointer, self.vector.as_pointer()), align=4)
