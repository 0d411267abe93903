"""``math.exp``, ``expm1``, ``log1p``, ``tanh`` and ``erf`` of float32 as kernels for CPUs have them: vectorised.

So loops over them are vectorised, on any CPU, where the C library's are called for one number after the other. They are
off by no more than 2 units in the last place; NaN and infinities give what IEEE 754 says. Of other types they are the
library's.

Powers of e are 2 ** n e ** r, as in Cody and Waite's Software Manual for the Elementary Functions (1980). Polynomials
are minimax, found by Lawson's algorithm; that of the logarithm is the Cephes library's (Moshier 1989).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from netspec.contract.kernel import device
from netspec.kernels.specialise import Prepared, prepare


@intrinsic
def _shifted_bits(_, x):  # type: ignore[no-untyped-def]
    """The float32 whose bits are those of x, 23 places further up: the last ones become sign and exponent."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        bits = builder.bitcast(args[0], ir.IntType(32))
        return builder.bitcast(builder.shl(bits, ir.Constant(bits.type, 23)), ir.FloatType())

    return types.float32(types.float32), generate


_ROOT_HALF = 0x3F3504F3
"""The bits of sqrt(1 / 2)."""


@intrinsic
def _exponent(_, x):  # type: ignore[no-untyped-def]
    """Of a normal x above 0 the n with x = m 2 ** n, m from sqrt(1 / 2) to sqrt(2)."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        bits = builder.bitcast(args[0], ir.IntType(32))
        above = builder.sub(bits, ir.Constant(bits.type, _ROOT_HALF))
        return builder.sitofp(builder.ashr(above, ir.Constant(bits.type, 23)), ir.FloatType())

    return types.float32(types.float32), generate


@intrinsic
def _mantissa(_, x):  # type: ignore[no-untyped-def]
    """The m of that."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        bits = builder.bitcast(args[0], ir.IntType(32))
        first = ir.Constant(bits.type, _ROOT_HALF)
        last = builder.and_(builder.sub(bits, first), ir.Constant(bits.type, 0x7FFFFF))
        return builder.bitcast(builder.add(last, first), ir.FloatType())

    return types.float32(types.float32), generate


@device
def _nearest(x):  # type: ignore[no-untyped-def]
    """The whole number that is nearest to an x of less than 2 ** 22."""
    return (x + 12582912.0) - 12582912.0


@device
def _power_of_two(n):  # type: ignore[no-untyped-def]
    """2 ** n of a whole n from -126 to 127: the last bits of n + 127 + 1.5 * 2 ** 23 are n + 127."""
    return _shifted_bits(n + 12583039.0)


@device
def _reduced(x):  # type: ignore[no-untyped-def]
    """A whole n and a small r with x = n * log(2) + r; log(2) is the sum of two numbers, n times the first is exact."""
    n = _nearest(x * 1.442695)
    return n, (x - n * 0.693359375) + n * 2.1219444e-4


@device
def _exp(x):  # type: ignore[no-untyped-def]
    """e ** x; beyond the bounds are 0 and infinity. 2 ** n alone can be too large or too small, its halves cannot."""
    x = -104.0 if x < -104.0 else x
    n, r = _reduced(89.0 if x > 89.0 else x)
    rest = 0.49999994 + r * (0.1666652 + r * (0.041668393 + r * (0.008368781 + r * 0.0013814467)))
    half = _nearest(0.5 * n)
    return (1.0 + (r + r * r * rest)) * _power_of_two(half) * _power_of_two(n - half)


@device
def _expm1(x):  # type: ignore[no-untyped-def]
    """e ** x - 1, by half of it, which is no larger than float32's largest number: 2 ** (n - 1) e ** r - 1 / 2."""
    x = -20.0 if x < -20.0 else x
    n, r = _reduced(89.0 if x > 89.0 else x)
    rest = 0.49999997 + r * (0.16666543 + r * (0.0416672 + r * (0.00836658 + r * 0.001388251)))
    own, half = r + r * r * rest, _power_of_two(n - 1.0)
    return own if n == 0.0 else 2.0 * (half * own + (half - 0.5))


@device
def _log1p(x):  # type: ignore[no-untyped-def]
    """log(1 + x): of m 2 ** n, n log(2) + log(m), and what the rounding of 1 + x has lost, which is small beside m."""
    u = 1.0 + x
    n, f = _exponent(u), _mantissa(u) - 1.0
    lost = 0.0 if n == 0.0 else (x - (u - 1.0)) / u
    f = x if n == 0.0 else f
    rest = -0.12420140846 + f * (0.116769987 + f * (-0.1151461031 + f * 0.070376836292))
    rest = 0.20000714765 + f * (-0.16668057665 + f * (0.14249322787 + f * rest))
    rest = 0.33333331174 + f * (-0.24999993993 + f * rest)
    small = f + (f * f * (f * rest - 0.5) + (lost - n * 2.1219444e-4))
    odd = -1.0 / u if u == 0.0 else (u - u) / (u - u) if u < 0.0 else x
    return small + n * 0.693359375 if u > 0.0 and u < 3.4e38 else odd


@device
def _tanh(x):  # type: ignore[no-untyped-def]
    """tanh(x): a polynomial of small x, else 1 - 2 / (e ** 2x + 1), which is 1 from 9.02 on."""
    size, square = abs(x), x * x
    rest = -0.053739715 + square * (0.020639088 - square * 0.0057049873)
    small = size + size * square * (-0.3333328 + square * (0.13331442 + square * rest))
    large = 1.0 - 2.0 / (_exp(2.0 * (10.0 if size > 10.0 else size)) + 1.0)
    return math.copysign(small if size < 0.625 else large, x)


@device
def _erf(x):  # type: ignore[no-untyped-def]
    """The error function: a polynomial of small x, else 1 - e ** -polynomial, which is 1 from 3.92 on."""
    size, square = abs(x), x * x
    rest = 0.0051883287 + square * (-0.00080102013 + square * 7.853884e-05)
    rest = -0.37612626 + square * (0.112835854 + square * (-0.026853813 + square * rest))
    small = size + size * (0.12837917 + square * rest)
    most = 4.0 if size > 4.0 else size
    rest = -0.024010055 + most * (0.00375747 + most * (-0.00035059036 + most * 1.3962274e-05))
    large = 1.0 - _exp(-most * (1.1286943 + most * (0.63496953 + most * (0.10653085 + most * rest))))
    return math.copysign(small if size < 1.0 else large, x)


def _compiled(prepared: Prepared) -> Any:
    """A function that becomes a part of what calls it. Products are fused with sums; no other law of reals is used."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}, "forceinline": True}
    return numba.njit(**options, no_cfunc_wrapper=True, no_cpython_wrapper=True)(prepared.build(_compiled))


def _by_type(function: Callable[..., Any], usual: Callable[[float], float]) -> Any:
    """An intrinsic: the function for float32, the usual one else."""
    of_float32 = _compiled(prepare(function, "float32"))

    def single(context, builder, signature, args):  # type: ignore[no-untyped-def]
        of_float32.compile(signature.args)
        compiled = of_float32.overloads[signature.args]
        context.active_code_library.add_linking_library(compiled.library)
        return context.call_internal(builder, compiled.fndesc, signature, args)

    def double(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return context.get_function(usual, signature)(builder, args)

    def define(_, x):  # type: ignore[no-untyped-def]
        if x == types.float32:
            return types.float32(x), single
        return (types.float64(types.float64), double) if isinstance(x, types.Number) else None

    define.__name__ = define.__qualname__ = usual.__name__
    return intrinsic(define)


_MADE_OF = {
    "exp": (_exp, math.exp),
    "expm1": (_expm1, math.expm1),
    "log1p": (_log1p, math.log1p),
    "tanh": (_tanh, math.tanh),
    "erf": (_erf, math.erf),
}


def __getattr__(name: str) -> Any:
    """``exp``, ``expm1``, ``log1p``, ``tanh`` and ``erf``, each made when it is first asked for."""
    if name not in _MADE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()[name] = _by_type(*_MADE_OF[name])
    return made
