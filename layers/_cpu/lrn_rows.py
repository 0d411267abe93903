"""The fast CPU response normalisation: a tile of rows, laid out with gaps of zeros, makes every loop a vector loop.

A tile begins with ``gap`` zeros, and each group of ``width`` channels is followed by ``gap`` more, so that windows that
are clipped at a group's ends need no case of their own. Tiles fit a core's first-level cache.
"""

from netspec.layers._response import power
from netspec.plugin import device

TILE = 2048
"""Elements of a tile: three float32 arrays of it take 24 KiB."""


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
def powers(sums, gap, length, k, per_term, beta):
    """Replace sums by (k + alpha * sum) ** -beta."""
    target = sums[gap : gap + length]
    for i in range(length):
        target[i] = power(k + per_term * target[i], beta)


@device
def powers_and_factors(sums, factors, gap, length, k, per_term, beta):
    """Replace sums by the power, and write the power over the scale to factors."""
    target, other = sums[gap : gap + length], factors[gap : gap + length]
    for i in range(length):
        scale = k + per_term * target[i]
        target[i] = power(scale, beta)
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
