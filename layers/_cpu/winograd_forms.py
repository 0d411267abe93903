"""Winograd's convolutions F(m x m, r x r) and their matrices (Lavin and Gray 2016).

A tile of m x m results is A^T [(G g G^T) * (B^T d B)] A, with the r x r filter g and the pixels d of n x n, where n is
m + r - 1. The matrices are those of Cook and Toom for n - 1 points and infinity. Points are chosen for small rounding
errors (on choosing them: Barabasz et al. 2020) and so that A and B are exact in binary; for n = 6 the error is a
quarter of what the usual 0, 1, -1, 2, -2 give.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any, NamedTuple

from netspec.plugin import device

Matrix = list[list[Fraction]]


class F4x3(NamedTuple):
    """F(4 x 4, 3 x 3): 36 products where 144 are to be had."""

    tile: int = 4
    size: int = 3


class F5x3(NamedTuple):
    """F(5 x 5, 3 x 3): 49 products for 225."""

    tile: int = 5
    size: int = 3


class F3x5(NamedTuple):
    """F(3 x 3, 5 x 5): 49 products for 225."""

    tile: int = 3
    size: int = 5


class F4x5(NamedTuple):
    """F(4 x 4, 5 x 5): 64 products for 400."""

    tile: int = 4
    size: int = 5


Form = F4x3 | F5x3 | F3x5 | F4x5
"""The sides of a tile of results and of a filter. Each form has a type, by which kernels have its matrices."""


class Matrices(NamedTuple):
    """A is n x m, G is n x r, and B^T n x n: a row for each point."""

    a: Matrix
    g: Matrix
    b_transposed: Matrix


def _mirrored(*points: Fraction) -> tuple[Fraction, ...]:
    return tuple(value for point in points for value in (point, -point))


POINTS = {
    6: (Fraction(0), *_mirrored(Fraction(3, 4), Fraction(3, 2))),
    7: (Fraction(0), *_mirrored(Fraction(1, 2), Fraction(9, 8)), Fraction(21, 8)),
    8: (Fraction(0), *_mirrored(Fraction(9, 16), Fraction(1), Fraction(7, 4))),
}
"""Where the polynomials are evaluated, beside infinity, by n; p is followed by -p, which halves the work."""


@device
def span(form):
    """Side of the pixels that a tile of results reads."""
    return form.tile + form.size - 1


@device
def points(form):
    """Products of a tile: each has a matrix of its own."""
    return span(form) * span(form)


def matrices(form: Any) -> Matrices:
    """Those of a form, in exact numbers."""
    own = POINTS[span(form)]
    others = [tuple(q for q in own if q != p) for p in own]
    filters = [
        [value / prod(p - q for q in rest) for value in row]
        for p, rest, row in zip(own, others, _powers(own, form.size), strict=False)
    ]
    pixels = [_coefficients(roots, span(form)) for roots in (*others, own)]
    return Matrices(_powers(own, form.tile), filters + _powers(own, form.size)[-1:], pixels)


def transposed(matrix: Matrix) -> Matrix:
    """Rows for columns."""
    return [list(column) for column in zip(*matrix, strict=True)]


def _coefficients(roots: tuple[Fraction, ...], count: int) -> list[Fraction]:
    """The polynomial with these roots, lowest power first, filled up to ``count`` coefficients."""
    result = [Fraction(1)]
    for root in roots:
        result = [up - root * same for up, same in zip([Fraction(0), *result], [*result, Fraction(0)], strict=True)]
    return result + [Fraction(0)] * (count - len(result))


def _powers(own: tuple[Fraction, ...], count: int) -> Matrix:
    """A row of powers for each point, and for infinity the highest alone."""
    return [[p**k for k in range(count)] for p in own] + [[Fraction(int(k == count - 1)) for k in range(count)]]
