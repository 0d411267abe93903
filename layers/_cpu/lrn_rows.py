"""Response normalisation across channels on CPUs, the variant ``rows``: rows laid out so that loops are vector loops.

A tile begins with ``gap`` zeros, and each group of ``width`` channels is followed by ``gap`` more, so that windows that
are clipped at a group's ends need no case of their own. Tiles fit a core's first-level cache. The usual window of five
channels is summed in registers: nothing but the squares, and backwards the ratios, goes through a tile.
"""

from netspec.layers._normalisation import Response, power, scale_of
from netspec.plugin import Variant, Workspace, backward, device, forward

TILE = 2048
"""Elements of a tile: three float32 arrays of it take 24 KiB."""


def block(t):
    """Elements in one block: whole rows of channels, near 64 Ki elements."""
    return t.x.shape[-1] * max(1, 65536 // t.x.shape[-1])


def _workspace(layer, t, direction):
    width, gap = layer.width(t), layer.attrs.size // 2
    length = gap + max(1, TILE // (width + gap)) * (width + gap)
    names = ("tile", "sums") if direction == "forward" else ("tile", "sums", "factors")
    return {name: Workspace((length,), per="member") for name in names}


@device
def spread_squares(x, tile, count, width, gap):
    """Lay out the squares of ``count`` groups with zeros in the gaps."""
    tile[:gap] = 0.0
    for n in range(count):
        source, target = x[n * width : (n + 1) * width], tile[gap + n * (width + gap) :]
        for c in range(width):
            target[c] = source[c] * source[c]
        for c in range(gap):
            target[width + c] = 0.0


@device
def spread_ratios(x, dy, factors, tile, count, width, gap):
    """Lay out dy * x * factor; the gaps keep their zeros."""
    for n in range(count):
        left, right, at = x[n * width : (n + 1) * width], dy[n * width : (n + 1) * width], gap + n * (width + gap)
        factor, target = factors[at:], tile[at:]
        for c in range(width):
            target[c] = left[c] * right[c] * factor[c]


@device
def window_sums(tile, sums, gap, length, before, after):
    """sums[i] = the sum of tile[i - before] to tile[i + after], for ``length`` places from ``gap`` on."""
    target, start = sums[gap : gap + length], gap - before
    one = tile[start : start + length]
    for i in range(length):
        target[i] = one[i]
    for d in range(1, before + after, 2):
        one, two = tile[start + d : start + d + length], tile[start + d + 1 : start + d + 1 + length]
        for i in range(length):
            target[i] += one[i] + two[i]
    if (before + after) % 2:
        one = tile[gap + after : gap + after + length]
        for i in range(length):
            target[i] += one[i]


@device
def powers(sums, gap, length, response):
    """Replace sums by (k + alpha * sum) ** -beta."""
    target = sums[gap : gap + length]
    for i in range(length):
        target[i] = power(scale_of(target[i], response), response.beta)


@device
def powers_and_factors(sums, factors, gap, length, response):
    """Replace sums by the power, and write the power over the scale to factors."""
    target, other = sums[gap : gap + length], factors[gap : gap + length]
    for i in range(length):
        scale = scale_of(target[i], response)
        target[i] = power(scale, response.beta)
        other[i] = target[i] / scale


@device
def scaled(x, powers_, y, count, width, gap):
    """y = x * power."""
    for n in range(count):
        source, target = x[n * width : (n + 1) * width], y[n * width : (n + 1) * width]
        factor = powers_[gap + n * (width + gap) :]
        for c in range(width):
            target[c] = source[c] * factor[c]


@device
def combined(x, dy, powers_, sums, d_x, coupling, count, width, gap):
    """d_x = dy * power - coupling * x * sum."""
    for n in range(count):
        left, right = x[n * width : (n + 1) * width], dy[n * width : (n + 1) * width]
        at, target = gap + n * (width + gap), d_x[n * width : (n + 1) * width]
        factor, total = powers_[at:], sums[at:]
        for c in range(width):
            target[c] = right[c] * factor[c] - coupling * left[c] * total[c]


@device
def scaled_by_five(x, tile, y, count, width, gap, response):
    """y = x * power, of windows of five channels."""
    for n in range(count):
        source, target, at = x[n * width : (n + 1) * width], y[n * width : (n + 1) * width], gap + n * (width + gap)
        a, b, c, d, e = tile[at - 2 :], tile[at - 1 :], tile[at:], tile[at + 1 :], tile[at + 2 :]
        for i in range(width):
            scale = scale_of(a[i] + (b[i] + c[i]) + (d[i] + e[i]), response)
            target[i] = source[i] * power(scale, response.beta)


@device
def ratios_of_five(x, dy, tile, powers_, ratios, count, width, gap, response):
    """The powers of windows of five channels, and dy * x * power / scale with zeros in the gaps."""
    ratios[:gap] = 0.0
    for n in range(count):
        left, right, at = x[n * width : (n + 1) * width], dy[n * width : (n + 1) * width], gap + n * (width + gap)
        a, b, c, d, e = tile[at - 2 :], tile[at - 1 :], tile[at:], tile[at + 1 :], tile[at + 2 :]
        factor, target = powers_[at:], ratios[at:]
        for i in range(width):
            scale = scale_of(a[i] + (b[i] + c[i]) + (d[i] + e[i]), response)
            one = power(scale, response.beta)
            factor[i], target[i] = one, left[i] * right[i] * (one / scale)
        for i in range(gap):
            target[width + i] = 0.0


@device
def combined_of_five(x, dy, powers_, ratios, d_x, coupling, count, width, gap):
    """d_x = dy * power - coupling * x * the sum of five ratios."""
    for n in range(count):
        left, right = x[n * width : (n + 1) * width], dy[n * width : (n + 1) * width]
        at, target = gap + n * (width + gap), d_x[n * width : (n + 1) * width]
        a, b, c, d, e = ratios[at - 2 :], ratios[at - 1 :], ratios[at:], ratios[at + 1 :], ratios[at + 2 :]
        factor = powers_[at:]
        for i in range(width):
            total = a[i] + (b[i] + c[i]) + (d[i] + e[i])
            target[i] = right[i] * factor[i] - coupling * left[i] * total


@device
def groups_of_tile(tile, first, stop, width, gap):
    """How many groups from place ``first`` on a tile holds."""
    return min(tile.size // (width + gap), (stop - first) // width)


@forward("cpu", over="y", writes="y", block=block)
def forward_rows(start, stop, x, y, tile, sums, width, response: Response):
    gap = response.before
    for first in range(start, stop, tile.size // (width + gap) * width):
        count = groups_of_tile(tile, first, stop, width, gap)
        spread_squares(x[first:], tile, count, width, gap)
        if gap == 2 and response.after == 2:
            scaled_by_five(x[first:], tile, y[first:], count, width, gap, response)
            continue
        length = count * (width + gap) - gap
        window_sums(tile, sums, gap, length, gap, response.after)
        powers(sums, gap, length, response)
        scaled(x[first:], sums, y[first:], count, width, gap)


@backward("cpu", over="d_x", writes="d_x", block=block)
def backward_rows(start, stop, x, dy, d_x, tile, sums, factors, width, response: Response):
    gap = response.before
    for first in range(start, stop, tile.size // (width + gap) * width):
        count = groups_of_tile(tile, first, stop, width, gap)
        left, right = x[first:], dy[first:]
        spread_squares(left, tile, count, width, gap)
        if gap == 2 and response.after == 2:
            ratios_of_five(left, right, tile, sums, factors, count, width, gap, response)
            combined_of_five(left, right, sums, factors, d_x[first:], response.coupling, count, width, gap)
            continue
        length = count * (width + gap) - gap
        window_sums(tile, sums, gap, length, gap, response.after)
        powers_and_factors(sums, factors, gap, length, response)
        spread_ratios(left, right, factors, tile, count, width, gap)
        window_sums(tile, factors, gap, length, response.after, gap)
        combined(left, right, sums, factors, d_x[first:], response.coupling, count, width, gap)


VARIANT = Variant("rows", kernels=(forward_rows, backward_rows), workspace=_workspace)
