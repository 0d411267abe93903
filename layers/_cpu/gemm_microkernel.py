"""The GEMM micro-kernel on CPUs: an MR x NR register tile of sums (Goto and van de Geijn 2008; BLIS).

Written as LLVM vectors in a numba intrinsic, since a compiler does not find this register blocking by itself. Nothing
in here is bounds-checked. MR and NR follow the vector registers that the CPU has; any CPU can run any tile.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from netspec.layers._cpu.llvm_vectors import LANES, LONG, VectorWriter, counted_loop, operand_types
from netspec.layers._cpu.llvm_vectors import WIDE as _WIDE

MR = 8 if _WIDE else 6
"""Rows of the register tile."""
NARROW, WIDE = (32, 48) if _WIDE else (16, 16)
"""Columns (NR) of the two register tiles: 32 registers of 16 floats hold 8 x 48, 16 registers of 8 floats 6 x 16."""
_UNROLL = 4
_ARGUMENTS = (
    "width", "a", "a_rows", "b", "c", "c_rows", "start",
    "a_first b_first c_first s_first", "runs run jump step accumulate",
)  # fmt: skip


class _Writer(VectorWriter):
    """Writes ``c (+)= a b`` over ``runs`` runs of ``run`` terms."""

    def __init__(
        self, context: Any, builder: Any, sig: Any, args: Any, columns: int, step: int | None, neighbours: bool
    ) -> None:
        *names, terms = _ARGUMENTS
        super().__init__(context, builder, sig, args, [*names, terms if step else f"{terms} pitch"])
        self.columns, self.vectors, self.step, self.neighbours = columns, columns // LANES, step, neighbours

    def write(self) -> None:
        sums = self.start()
        rows = [self.whole(i) for i in range(MR)] if self.neighbours else self.offsets("a_rows")
        a = [self.at(self.at(self.args["a"], self.args["a_first"]), row) for row in rows]
        state = [self.whole(0), self.b(), *sums]
        sums = counted_loop(self.builder, self.args["runs"], state, lambda s: self.run(a, s))[2:]
        for value, target in zip(sums, self.targets(), strict=True):
            self.store(value, target)

    def offsets(self, name: str) -> list[Any]:
        load = self.builder.load
        return [load(self.builder.gep(self.args[name], [self.whole(i)]), typ=LONG) for i in range(MR)]

    def b(self) -> Any:
        return self.at(self.args["b"], self.args["b_first"])

    def targets(self) -> list[Any]:
        base = self.at(self.args["c"], self.args["c_first"])
        return [
            self.at(self.at(base, row), self.whole(j * LANES))
            for row in self.offsets("c_rows")
            for j in range(self.vectors)
        ]

    def start(self) -> list[Any]:
        """The sums as they are in c, or a row of starting values for each."""
        builder, more = self.builder, self.args["accumulate"]
        with builder.if_else(builder.icmp_signed("!=", more, self.whole(0))) as (yes, no):
            with yes:
                old, then = [self.load(target) for target in self.targets()], builder.block
            with no:
                base = self.at(self.args["start"], self.args["s_first"])
                row = [self.load(self.at(base, self.whole(j * LANES))) for j in range(self.vectors)]
                otherwise = builder.block
        merged = []
        for i, value in enumerate(old):
            phi = builder.phi(self.vector)
            phi.add_incoming(value, then)
            phi.add_incoming(row[i % self.vectors], otherwise)
            merged.append(phi)
        return merged

    def run(self, a: list[Any], state: list[Any]) -> list[Any]:
        """One run: whole unrolled steps, then the terms that are left."""
        base, count = state[0], self.args["run"]
        steps = self.builder.sdiv(count, self.whole(_UNROLL))
        left = self.builder.srem(count, self.whole(_UNROLL))
        state = counted_loop(self.builder, steps, state, lambda s: self.terms(a, s, _UNROLL))
        state = counted_loop(self.builder, left, state, lambda s: self.terms(a, s, 1))
        return [self.builder.add(base, self.args["jump"]), *state[1:]]

    def terms(self, a: list[Any], state: list[Any], count: int) -> list[Any]:
        place, b, sums = state[0], state[1], state[2:]
        step = self.args["step"] if self.step is None else self.whole(self.step)
        pitch = self.args["pitch"] if self.step is None else self.whole(self.columns)
        spots = [self.builder.add(place, self.builder.mul(step, self.whole(u))) for u in range(count + 1)]
        rows = [self.at(b, self.builder.mul(pitch, self.whole(u))) for u in range(count + 1)]
        for u in range(count):
            right = [self.load(self.at(rows[u], self.whole(j * LANES))) for j in range(self.vectors)]
            for i in range(MR):
                left = self.broadcast(self.at(a[i], spots[u]))
                for j in range(self.vectors):
                    k = i * self.vectors + j
                    sums[k] = self.builder.call(self.multiply_add, [left, right[j], sums[k]])
        return [spots[count], rows[count], *sums]

    def broadcast(self, pointer: Any) -> Any:
        return self.everywhere(self.builder.load(pointer, align=4, typ=self.element))


def _micro_kernel(step: int | None, neighbours: bool = False) -> Any:
    @intrinsic
    def multiply(typing, width, a, a_rows, b, c, c_rows, start, first, terms):  # type: ignore[no-untyped-def]
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if WIDE == NARROW:
                _Writer(context, builder, sig, args, WIDE, step, neighbours).write()
                return context.get_dummy_value()
            with builder.if_else(builder.icmp_signed("==", args[0], LONG(WIDE))) as branches:
                for branch, columns in zip(branches, (WIDE, NARROW), strict=True):
                    with branch:
                        _Writer(context, builder, sig, args, columns, step, neighbours).write()
            return context.get_dummy_value()

        return types.void(types.intp, *operand_types((a, a_rows, b, c, c_rows, start, first, terms))), code

    return multiply


multiply = _micro_kernel(1)
"""c[c_first + c_rows[i] + j] = start[s_first + j] + the sum over r < runs and k < run of
a[a_first + a_rows[i] + r * jump + k] b[b_first + (r * run + k) * width + j], for i < MR and j < width: WIDE or NARROW.

All arrays are flat; ``first`` is (a_first, b_first, c_first, s_first), ``terms`` (runs, run, jump, step, accumulate).
With ``accumulate`` sums are added to what c holds, and start is not read; ``step`` is not looked at."""
multiply_strided = _micro_kernel(None)
"""The same with a[a_first + a_rows[i] + r * jump + k * step], and terms[5] in place of width between b's rows, for
weight gradients."""
multiply_neighbours = _micro_kernel(None, neighbours=True)
"""That with a[a_first + i + r * jump + k * step], which is faster; ``a_rows`` are not looked at."""
multiply_blocked = _micro_kernel(LANES)
"""``multiply`` with a[a_first + a_rows[i] + r * jump + k * LANES]: rows are lanes of vectors, one after the other."""
