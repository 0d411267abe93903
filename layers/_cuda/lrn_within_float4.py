"""Response normalisation within channels in CUDA, the variant ``vector``: a float4 of four pixels by two a thread.

The sum over the part of a window that lies in one row serves all four pixels whose windows reach that row, and two
neighbours share all but one pixel of it: with windows of five, 48 pixels are read for eight, not 200. Neighbouring
threads share what they read in the cache.
"""

from netspec.layers._cuda import float4
from netspec.layers._cuda.float4 import THREADS, at, blocks, image, place
from netspec.layers._cuda.response_power import scaled, shares
from netspec.layers._normalisation import Response
from netspec.plugin import Lazy, Variant, backward, device, forward, load4, store4

np = Lazy("numpy")
STRIP, GROUP = 4, 4
"""Rows of pixels of a thread, and columns that two neighbours' windows share and that are read at once."""


def strips(t):
    """Blocks for all strips of pixels."""
    return blocks(t, -(-t.x.shape[1] // STRIP), -(-t.x.shape[2] // 2))


@device
def plus(total, values, counts):
    """total and four values; as it is where they do not count."""
    a, b, c, d = total
    a, b = a + values[0] if counts else a, b + values[1] if counts else b
    return a, b, c + values[2] if counts else c, d + values[3] if counts else d


@device
def with_square(total, values, squared, counts):
    """total and four values, or their squares; as it is where they do not count."""
    if squared:
        a, b, c, d = total
        p, q, r, s = values
        a, b = a + p * p if counts else a, b + q * q if counts else b
        return a, b, c + r * r if counts else c, d + s * s if counts else d
    return plus(total, values, counts)


@device
def in_row(x, row, w, before, after, squared):
    """The sums of the pixels of a row, or of their squares, that the windows of columns w and w + 1 reach.

    ``row`` is where the row's first pixel lies.
    """
    channels, edge, total = np.int32(x.shape[3]), np.int32(x.shape[2] - 1), (0.0, 0.0, 0.0, 0.0)
    left, right = np.int32(w - before), np.int32(w + 1 + after)
    i, j = max(left, np.int32(0)), min(right, edge)
    first, last = load4(x, np.int32(row + i * channels)), load4(x, np.int32(row + j * channels))
    i, stop = max(np.int32(left + 1), np.int32(0)), min(np.int32(right - 1), edge)
    while i <= stop:
        b, c, d = min(np.int32(i + 1), stop), min(np.int32(i + 2), stop), min(np.int32(i + 3), stop)
        p, q = load4(x, np.int32(row + i * channels)), load4(x, np.int32(row + b * channels))
        r, s = load4(x, np.int32(row + c * channels)), load4(x, np.int32(row + d * channels))
        total = with_square(with_square(total, p, squared, True), q, squared, i + 1 <= stop)
        total = with_square(with_square(total, r, squared, i + 2 <= stop), s, squared, i + 3 <= stop)
        i = np.int32(i + GROUP)
    return with_square(total, first, squared, left >= 0), with_square(total, last, squared, right <= edge)


@device
def reaches(row, pixel, before, after):
    """Whether the window of a pixel reaches a row."""
    return row >= pixel - before and row <= pixel + after


@device
def sums(x, n, h, w, c, before, after, squared):
    """Of four pixels of column w, and of four of the next one, the sums over their windows."""
    zero = (0.0, 0.0, 0.0, 0.0)
    a, b, d, e = zero, zero, zero, zero
    p, q, r, s = zero, zero, zero, zero
    above, below = np.int32(before), np.int32(after)
    row, start = max(np.int32(h - above), np.int32(0)), np.int32(image(x, n) + c)
    stop = min(np.int32(h + STRIP + below), np.int32(x.shape[1]))
    while row < stop:
        left, right = in_row(x, at(x, row, 0, start), w, above, below, squared)
        one, two = reaches(row, h, above, below), reaches(row, np.int32(h + 1), above, below)
        three = reaches(row, np.int32(h + 2), above, below)
        four = reaches(row, np.int32(h + 3), above, below)
        a, b, d, e = plus(a, left, one), plus(b, left, two), plus(d, left, three), plus(e, left, four)
        p, q, r, s = plus(p, right, one), plus(q, right, two), plus(r, right, three), plus(s, right, four)
        row = np.int32(row + 1)
    return (a, b, d, e), (p, q, r, s)


@device
def column(x, strip, pair):
    """A thread's first pixel, and how many rows and columns it has: none where it lies outside."""
    h, w = np.int32(STRIP * strip), np.int32(2 * pair)
    rows = np.int32(x.shape[1] - h) if w < np.int32(x.shape[2]) else np.int32(0)
    return h, w, rows, np.int32(x.shape[2] - w)


def make_sweep(write, squared):
    """A device function that calls ``write(i, total, state)`` for each of a thread's pixels, which lie at ``i``.

    ``total`` are the sums of ``source``, or of its squares, over the windows that reach ``before`` and ``after``.
    """

    @device
    def write_column(x, i, totals, rows, state):
        apart = np.int32(x.shape[2] * x.shape[3])
        write(i, totals[0], state)
        if rows > 1:
            write(np.int32(i + apart), totals[1], state)
        if rows > 2:
            write(np.int32(i + 2 * apart), totals[2], state)
        if rows > 3:
            write(np.int32(i + 3 * apart), totals[3], state)

    @device
    def sweep(x, source, before, after, state):
        n, strip, pair, c = place(x.shape[3])
        h, w, rows, columns = column(x, strip, pair)
        if rows > 0:
            left, right = sums(source, n, h, w, c, before, after, squared)
            i = at(x, h, w, np.int32(image(x, n) + c))
            write_column(x, i, left, rows, state)
            if columns > 1:
                write_column(x, np.int32(i + x.shape[3]), right, rows, state)

    return sweep


@device
def write_scaled(i, total, state):
    """Four channels of y."""
    x, y, response = state
    a, b, c, d = scaled(load4(x, i), total, response, response.beta == 0.75)
    store4(y, i, a, b, c, d)


@device
def write_shares(i, total, state):
    """Four channels of d_x's first part and of the ratios."""
    x, dy, d_x, ratio, response = state
    (a, b, c, d), (p, q, r, s) = shares(load4(x, i), load4(dy, i), total, response, response.beta == 0.75)
    store4(d_x, i, a, b, c, d)
    store4(ratio, i, p, q, r, s)


@device
def subtract(i, total, state):
    """Four channels of d_x's second part."""
    x, d_x, coupling = state
    (a, b, c, d), (p, q, r, s) = load4(x, i), load4(d_x, i)
    p, q = p - coupling * a * total[0], q - coupling * b * total[1]
    store4(d_x, i, p, q, r - coupling * c * total[2], s - coupling * d * total[3])


sweep_scaled, sweep_shares = make_sweep(write_scaled, True), make_sweep(write_shares, True)
sweep_subtract = make_sweep(subtract, False)


@forward("cuda", over="y", grid=strips, threads=THREADS, writes="y")
def forward_vector_cuda(x, y, response: Response):
    """y = x * power of the scale."""
    sweep_scaled(x, x, response.before, response.after, (x, y, response))


@backward("cuda", over="d_x", grid=strips, threads=THREADS, writes=("d_x", "ratio"))
def ratio_vector_cuda(x, dy, d_x, ratio, response: Response):
    """d_x's first part, and what each place adds to the second part of those whose windows reach it."""
    sweep_shares(x, x, response.before, response.after, (x, dy, d_x, ratio, response))


@backward("cuda", over="d_x", grid=strips, threads=THREADS, writes="d_x")
def backward_vector_cuda(x, d_x, ratio, response: Response):
    """d_x = its first part - coupling * x * the sum of ratios."""
    sweep_subtract(x, ratio, response.after, response.before, (x, d_x, response.coupling))


VARIANT = Variant(
    "vector",
    kernels=(forward_vector_cuda, ratio_vector_cuda, backward_vector_cuda),
    supports=lambda layer, t: float4.fits(t.x),
)
