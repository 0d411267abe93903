"""Intrinsics of one piece of inline PTX on numbers: what Hopper's instructions take are addresses, not arrays."""

from __future__ import annotations

from typing import Any

from netspec.kernels.inline_ptx import asm, uint32, void
from netspec.kernels.numba_cuda import named_intrinsic, types

_LETTERS = {"r": "uint32", "i": "int32", "l": "uint64", "h": "uint16"}
"""Types by letter, those of PTX's constraints; "i" is a number with a sign in a register of 32 bits."""


def scalar_instruction(name: str, text: str, inputs: str, result: str = "") -> Any:
    """An intrinsic that is ``text``, with its parameters' types and its result's as letters.

    In the text a result, of 32 bits, is $0, with the parameters behind it. The compiler leaves it where it is, and
    accesses of memory on their side of it.
    """
    constraints = [*([f"={_register(result)}"] if result else []), *map(_register, inputs)]
    joined = ",".join([*constraints, "~{memory}"])

    def define(_, *args):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            given = asm(builder, text, uint32 if result else void, args, joined, moves=False)
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
