"""The intrinsic that the power of response normalisation on CPUs begins with."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


@intrinsic
def quarter_guess(_: Any, x: Any) -> Any:
    """x ** -0.25 of a positive float32, off by 3.2 % at most: its exponent divided by -4, in its bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(32))
        quarter = builder.lshr(bits, ir.Constant(bits.type, 2))
        return builder.bitcast(builder.sub(ir.Constant(bits.type, MAGIC), quarter), ir.FloatType())

    return types.float32(types.float32), generate


MAGIC = 0x4F584000
"""Five quarters of the bits of 1, less what makes the largest error smallest."""
