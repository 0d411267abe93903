"""netspec.kernels.extrema on CPUs as two comparisons: numba compiles a helper anew for each literal that it is given.

They are functions still, taken in by what calls them when a kernel is optimised as a whole.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types.misc import unliteral
from numba.extending import intrinsic


def _extremum(name: str, sign: str) -> Any:
    def define(typing, a, b):  # type: ignore[no-untyped-def]
        kind = typing.unify_types(unliteral(a), unliteral(b))
        if not isinstance(kind, types.Integer | types.Float | types.Boolean):
            return None

        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            number = args[0].type
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(number, [number, number]), f"netspec.{name}.{kind}"
            )
            if function.is_declaration:
                function.linkage = "linkonce_odr"
                inner = ir.IRBuilder(function.append_basic_block())
                first, second = function.args
                inner.ret(inner.select(_takes_second(inner, kind, sign, first, second), second, first))
            return builder.call(function, args)

        return kind(kind, kind), generate

    define.__name__ = define.__qualname__ = name
    return intrinsic(define)


def _takes_second(builder: Any, kind: Any, sign: str, first: Any, second: Any) -> ir.Value:
    if not isinstance(kind, types.Float):
        compare = builder.icmp_signed if getattr(kind, "signed", False) else builder.icmp_unsigned
        return compare(sign, second, first)
    is_nan = builder.fcmp_unordered("!=", second, second)
    return builder.or_(builder.fcmp_ordered(sign, second, first), is_nan)


larger, smaller = _extremum("larger", ">"), _extremum("smaller", "<")
