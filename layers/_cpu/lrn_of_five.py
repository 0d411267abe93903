"""Response normalisation of bfloat16 on CPUs, the variant ``of_five``: for the usual window and exponent, no divisions.

At half the bytes square roots and divisions are what costs. scale ** -0.25 by Newton's method is a few products, of
which the third and the seventh power are what the formulas ask for. Rows are laid out as for the variant ``rows``; a
window's sum is taken where it is used.
"""

from netspec.layers._cpu import lrn_rows
from netspec.layers._cpu.lrn_rows import combined, scaled, spread_ratios, spread_squares
from netspec.layers._normalisation import Response, scale_of
from netspec.plugin import Lazy, Variant, backward, device, forward

quarter_guess = Lazy("netspec.layers._cpu.inverse_root", "quarter_guess")


def _supports(layer, t):
    return (t.x.dtype, layer.attrs.size, layer.attrs.beta) == ("bfloat16", 5, 0.75)


@device
def inverse_quarter(x):
    """x ** -0.25 of a positive x, to float32's precision; NaN of an infinite one."""
    y = quarter_guess(x)
    square = y * y
    off = 1.0 - x * square * square
    y += y * off * (0.25 + 0.15625 * off)  # the series of (1 - off) ** -0.25, then Newton's step
    square = y * y
    return y * (1.25 - 0.25 * x * square * square)


@device
def five_views(tile, length):
    """Five views of a tile, each from one place further on."""
    return (
        tile[:length],
        tile[1 : 1 + length],
        tile[2 : 2 + length],
        tile[3 : 3 + length],
        tile[4 : 4 + length],
    )


@device
def tiled(x, tile, first, stop, width):
    """Lay out the squares of a tile of groups from place ``first`` on: how many groups, and their places."""
    count = min(tile.size // (width + 2), (stop - first) // width)
    spread_squares(x[first:], tile, count, width, 2)
    return count, count * (width + 2) - 2


@forward("cpu", over="y", writes="y", block=lrn_rows.block)
def forward_five(start, stop, x, y, tile, sums, width, response: Response):
    for first in range(start, stop, tile.size // (width + 2) * width):
        count, length = tiled(x, tile, first, stop, width)
        a, b, c, d, e = five_views(tile, length)
        powers = sums[2 : 2 + length]
        for i in range(length):
            root = inverse_quarter(scale_of(a[i] + b[i] + c[i] + d[i] + e[i], response))
            powers[i] = root * root * root
        scaled(x[first:], sums, y[first:], count, width, 2)


@backward("cpu", over="d_x", writes="d_x", block=lrn_rows.block)
def backward_five(start, stop, x, dy, d_x, tile, sums, factors, width, response: Response):
    for first in range(start, stop, tile.size // (width + 2) * width):
        count, length = tiled(x, tile, first, stop, width)
        a, b, c, d, e = five_views(tile, length)
        powers, ratios = sums[2 : 2 + length], factors[2 : 2 + length]
        for i in range(length):
            root = inverse_quarter(scale_of(a[i] + b[i] + c[i] + d[i] + e[i], response))
            cube = root * root * root
            powers[i], ratios[i] = cube, cube * cube * root
        spread_ratios(x[first:], dy[first:], factors, tile, count, width, 2)
        a, b, c, d, e = five_views(tile, length)
        totals = factors[2 : 2 + length]
        for i in range(length):
            totals[i] = a[i] + b[i] + c[i] + d[i] + e[i]
        combined(x[first:], dy[first:], sums, factors, d_x[first:], response.coupling, count, width, 2)


VARIANT = Variant(
    "of_five", kernels=(forward_five, backward_five), supports=_supports, workspace=lrn_rows.VARIANT.workspace
)
