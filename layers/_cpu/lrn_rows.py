"""Response normalisation across channels on CPUs, the variant ``rows``: rows laid out so that loops are vector loops.

A tile begins with ``gap`` zeros, and each group of ``width`` channels is followed by ``gap`` more, so that windows that
are clipped at a group's ends need no case of their own. Tiles fit a core's first-level cache. Windows of five
channels with the usual exponent, where a group fills a vector register, have the variant ``vectors``: they are summed
in registers, and nothing but the squares, and backwards ratios and shares of dy, goes through tiles.
"""

from netspec.layers._normalisation import Response, power, scale_of
from netspec.plugin import Lazy, Variant, Workspace, backward, device, forward

_VECTORS = "netspec.layers._cpu.lrn_vectors"
normalise, normalise_back = Lazy(_VECTORS, "normalise"), Lazy(_VECTORS, "normalise_back")

TILE = 2048
"""Elements of a tile: three float32 arrays of it take 24 KiB."""
LANES = 16
"""Channels that fill a vector register, whether of 8 or of 16 floats."""
GAP = 2
"""Zeros before and behind the groups of a tile for windows of five channels."""


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
def groups_of_tile(tile, first, stop, width, gap):
    """How many groups from place ``first`` on a tile holds."""
    return min(tile.size // (width + gap), (stop - first) // width)


@forward("cpu", over="y", writes="y", block=block)
def forward_rows(start, stop, x, y, tile, sums, width, response: Response):
    gap = response.before
    for first in range(start, stop, tile.size // (width + gap) * width):
        count = groups_of_tile(tile, first, stop, width, gap)
        spread_squares(x[first:], tile, count, width, gap)
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
        length = count * (width + gap) - gap
        window_sums(tile, sums, gap, length, gap, response.after)
        powers_and_factors(sums, factors, gap, length, response)
        spread_ratios(left, right, factors, tile, count, width, gap)
        window_sums(tile, factors, gap, length, response.after, gap)
        combined(left, right, sums, factors, d_x[first:], response.coupling, count, width, gap)


@forward("cpu", over="y", writes="y", block=block)
def forward_vectors(start, stop, x, y, tile, width, response: Response):
    for first in range(start, stop, tile.size // (width + GAP) * width):
        sizes = (first, groups_of_tile(tile, first, stop, width, GAP), width)
        normalise(x, y, tile, sizes, response.k, response.per_term)


@backward("cpu", over="d_x", writes="d_x", block=block)
def backward_vectors(start, stop, x, dy, d_x, tile, sums, factors, width, response: Response):
    for first in range(start, stop, tile.size // (width + GAP) * width):
        sizes = (first, groups_of_tile(tile, first, stop, width, GAP), width)
        normalise_back(x, dy, d_x, tile, sums, factors, sizes, response.k, response.per_term, response.coupling)


def _fills_a_vector(layer, t):
    usual = (layer.attrs.size, layer.attrs.beta) == (2 * GAP + 1, 0.75)
    return usual and t.x.dtype == "float32" and layer.width(t) >= LANES


VECTORS = Variant(
    "vectors",
    kernels=(forward_vectors, backward_vectors),
    supports=_fills_a_vector,
    workspace=_workspace,
)
VARIANT = Variant("rows", kernels=(forward_rows, backward_rows), workspace=_workspace)
