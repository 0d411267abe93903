"""Intrinsics of one piece of inline PTX on numbers: what Hopper's instructions take are addresses, not arrays."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from netspec.kernels.inline_ptx import asm, float32, uint32, void
from netspec.kernels.numba_cuda import named_intrinsic, types

_LETTERS = {"r": "uint32", "i": "int32", "l": "uint64", "h": "uint16", "f": "float32"}
"""Types by letter, those of PTX's constraints; "i" is a number with a sign in a register of 32 bits."""
_RESULTS = {"r": uint32, "i": uint32, "l": ir.IntType(64), "f": float32}


def scalar_instruction(name: str, text: str, inputs: str, result: str = "", moves: bool = False) -> Any:
    """An intrinsic that is ``text``, with its parameters' types and its result's as letters.

    In the text a result is $0, with the parameters behind it. ``moves`` True: the compiler may move it, and drop it
    where nobody wants the result; else it keeps its place, and other accesses of memory theirs around it.
    """
    constraints = [*([f"={_register(result)}"] if result else []), *map(_register, inputs)]
    joined = ",".join([*constraints, *([] if moves else ["~{memory}"])])

    def define(_, *args):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            given = asm(builder, text, _RESULTS.get(result, void), args, joined, moves=moves)
            return given if result else context.get_dummy_value()

        kinds = [getattr(types, _LETTERS[letter]) for letter in inputs]
        returned = getattr(types, _LETTERS[result]) if result else types.void
        return returned(*kinds), generate

    return named_intrinsic(_with_parameters(define, len(inputs)), name)


def _register(letter: str) -> str:
    return "r" if letter == "i" else letter


def _with_parameters(define: Any, count: int) -> Any:
    """The function with so many parameters by name, as numba wants them."""
    names = ", ".join(["_", *(f"a{number}" for number in range(count))])
    scope: dict[str, Any] = {"define": define, "__name__": __name__}
    exec(f"def named({names}):\n    return define({names})", scope)  # the text is made of this function's words only
    return scope["named"]
