"""What intrinsics written as LLVM vectors have in common: they take flat arrays, and numbers in tuples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types

WIDE = binding.get_host_cpu_features().get("avx512f", False)
"""Whether vector registers hold 16 floats."""
LANES = 16 if WIDE else 8
"""Floats of a vector register."""
LONG = ir.IntType(64)


def operand_types(kinds: Sequence[Any]) -> list[Any]:
    """The types of arguments: arrays as they are, tuples of numbers as 64-bit integers."""
    return [types.UniTuple(types.intp, len(kind)) if isinstance(kind, types.BaseTuple) else kind for kind in kinds]


def counted_loop(
    builder: Any, count: Any, state: Sequence[Any], body: Callable[[list[Any]], Sequence[Any]]
) -> list[Any]:
    """Generate ``count`` times state = body(state); gives the state at the end."""
    before, head, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", count, LONG(0)), head, after)
    builder.position_at_end(head)
    phis = [builder.phi(value.type) for value in [count, *state]]
    left, new = builder.sub(phis[0], LONG(1)), body(list(phis[1:]))
    for phi, first, again in zip(phis, [count, *state], [left, *new], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(again, builder.block)
    end = builder.block
    builder.cbranch(builder.icmp_signed(">", left, LONG(0)), head, after)
    builder.position_at_end(after)
    results = [builder.phi(value.type) for value in state]
    for phi, first, again in zip(results, state, new, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(again, end)
    return results


class VectorWriter:
    """Writes the code of one call.

    ``names`` name the arguments, those of a tuple with spaces between them; ``args`` holds arrays as pointers.
    """

    def __init__(self, context: Any, builder: Any, sig: Any, args: Any, names: Sequence[str]) -> None:
        self.builder = builder
        self.element = context.get_data_type(next(kind.dtype for kind in sig.args if isinstance(kind, types.Array)))
        self.vector = ir.VectorType(self.element, LANES)
        self.args: dict[str, Any] = {}
        for name, kind, value in zip(names, sig.args, args, strict=True):
            if isinstance(kind, types.BaseTuple):
                parts = name.split()
                self.args |= {part: builder.extract_value(value, place) for place, part in enumerate(parts)}
            else:
                is_array = isinstance(kind, types.Array)
                self.args[name] = context.make_array(kind)(context, builder, value).data if is_array else value
        name = f"llvm.fmuladd.v{LANES}{'f32' if self.element == ir.FloatType() else 'f64'}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self.multiply_add = cgutils.get_or_insert_function(builder.module, kind, name)

    def whole(self, value: int) -> Any:
        """A constant."""
        return ir.Constant(LONG, value)

    def everywhere(self, value: Any) -> Any:
        """A number in all lanes."""
        kind, place = ir.VectorType(value.type, LANES), ir.IntType(32)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, place(0))
        zeros = ir.Constant(ir.VectorType(place, LANES), None)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)

    def at(self, pointer: Any, offset: Any) -> Any:
        """The address of an element."""
        return self.builder.gep(pointer, [offset], source_etype=self.element)

    def load(self, pointer: Any) -> Any:
        """A vector."""
        return self.builder.load(pointer, align=4, typ=self.vector)

    def store(self, value: Any, pointer: Any) -> None:
        """Store a vector."""
        self.builder.store(value, self.builder.bitcast(pointer, self.vector.as_pointer()), align=4)
