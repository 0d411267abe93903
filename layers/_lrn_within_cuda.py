"""The fast CUDA normalisation within channels: a thread four channels of four pixels, one below the other.

The sum over the part of a window that lies in one row serves all four pixels whose windows reach that row: with a
window of five, eight rows are read for four pixels, not twenty. Neighbouring threads share what they read in the cache.
"""

import math

from netspec.layers._fours import THREADS, at, blocks, image, place
from netspec.plugin import Lazy, backward, device, forward, load4, rsqrt, store4

np = Lazy("numpy")
STRIP, GROUP = 4, 5
"""Pixels of a thread, and columns of a window that are read at once."""


def strips(t):
    """Blocks for all strips of pixels."""
    return blocks(t, -(-t.x.shape[1] // STRIP), t.x.shape[2])


@device
def with_square(total, values, squared, counts):
    """total and four values, or their squares; as it is where they do not count."""
    a, b, c, d = values
    a, b = a * a if squared else a, b * b if squared else b
    c, d = c * c if squared else c, d * d if squared else d
    return plus(total, (a, b, c, d), counts)


@device
def plus(total, values, counts):
    """total and four values; as it is where they do not count."""
    a, b, c, d = total
    a, b = a + values[0] if counts else a, b + values[1] if counts else b
    return a, b, c + values[2] if counts else c, d + values[3] if counts else d


@device
def in_row(x, first, last, squared):
    """The sum of the pixels of a row, or of their squares, in four channels; ``last`` counts from the first."""
    total, j, channels = (0.0, 0.0, 0.0, 0.0), np.int32(0), np.int32(x.shape[3])
    while j <= last:
        b, c = min(np.int32(j + 1), last), min(np.int32(j + 2), last)
        d, e = min(np.int32(j + 3), last), min(np.int32(j + 4), last)
        p, q = load4(x, np.int32(first + j * channels)), load4(x, np.int32(first + b * channels))
        r, s = load4(x, np.int32(first + c * channels)), load4(x, np.int32(first + d * channels))
        t = load4(x, np.int32(first + e * channels))
        total = with_square(with_square(total, p, squared, True), q, squared, j + 1 <= last)
        total = with_square(with_square(total, r, squared, j + 2 <= last), s, squared, j + 3 <= last)
        total = with_square(total, t, squared, j + 4 <= last)
        j = np.int32(j + GROUP)
    return total


@device
def reaches(row, pixel, before, after):
    """Whether the window of a pixel reaches a row."""
    return row >= pixel - before and row <= pixel + after


@device
def sums(x, n, h, w, c, before, after, squared):
    """Of four pixels the sums over their windows."""
    zero = (0.0, 0.0, 0.0, 0.0)
    one, two, three, four = zero, zero, zero, zero
    above, below = np.int32(before), np.int32(after)
    left = max(np.int32(w - before), np.int32(0))
    last = np.int32(min(np.int32(w + after), np.int32(x.shape[2] - 1)) - left)
    row, start = max(np.int32(h - above), np.int32(0)), np.int32(image(x, n) + c)
    stop = min(np.int32(h + STRIP + below), np.int32(x.shape[1]))
    while row < stop:
        part = in_row(x, at(x, row, left, start), last, squared)
        one = plus(one, part, reaches(row, h, above, below))
        two = plus(two, part, reaches(row, np.int32(h + 1), above, below))
        three = plus(three, part, reaches(row, np.int32(h + 2), above, below))
        four = plus(four, part, reaches(row, np.int32(h + 3), above, below))
        row = np.int32(row + 1)
    return one, two, three, four


@device
def power(scale, beta):
    """scale ** -beta and 1 / scale; for the usual 0.75 by reciprocal square roots alone."""
    root = rsqrt(scale)
    inverse = root * root
    if beta == 0.75:
        return inverse * rsqrt(root), inverse
    return math.exp(beta * math.log(inverse)), inverse


@device
def write_scaled(x, y, i, total, k, per_term, beta):
    """Four channels of y."""
    values = load4(x, i)
    a, _ = power(k + per_term * total[0], beta)
    b, _ = power(k + per_term * total[1], beta)
    c, _ = power(k + per_term * total[2], beta)
    d, _ = power(k + per_term * total[3], beta)
    store4(y, i, values[0] * a, values[1] * b, values[2] * c, values[3] * d)


@forward("cuda", over="y", grid=strips, threads=THREADS, writes="y", variant="vector")
def forward_vector_cuda(x, y, before, after, k, per_term, beta):
    """y = x * power of the scale."""
    n, strip, w, c = place(x.shape[3])
    h, height, row = np.int32(STRIP * strip), np.int32(x.shape[1]), np.int32(x.shape[2] * x.shape[3])
    if h < height and w < x.shape[2]:
        one, two, three, four = sums(x, n, h, w, c, before, after, True)
        i = at(x, h, w, np.int32(image(x, n) + c))
        write_scaled(x, y, i, one, k, per_term, beta)
        if h + 1 < height:
            write_scaled(x, y, np.int32(i + row), two, k, per_term, beta)
        if h + 2 < height:
            write_scaled(x, y, np.int32(i + 2 * row), three, k, per_term, beta)
        if h + 3 < height:
            write_scaled(x, y, np.int32(i + 3 * row), four, k, per_term, beta)


@device
def share(x, dy, total, k, per_term, beta):
    """dy * power, and x * dy * power / scale."""
    factor, inverse = power(k + per_term * total, beta)
    part = dy * factor
    return part, x * part * inverse


@device
def write_shares(x, dy, d_x, ratio, i, total, k, per_term, beta):
    """Four channels of d_x's first part and of the ratios."""
    values, gradients = load4(x, i), load4(dy, i)
    a, p = share(values[0], gradients[0], total[0], k, per_term, beta)
    b, q = share(values[1], gradients[1], total[1], k, per_term, beta)
    c, r = share(values[2], gradients[2], total[2], k, per_term, beta)
    d, s = share(values[3], gradients[3], total[3], k, per_term, beta)
    store4(d_x, i, a, b, c, d)
    store4(ratio, i, p, q, r, s)


@backward("cuda", over="d_x", grid=strips, threads=THREADS, writes=("d_x", "ratio"), variant="vector")
def ratio_vector_cuda(x, dy, d_x, ratio, before, after, k, per_term, beta):
    """d_x's first part, and what each place adds to the second part of those whose windows reach it."""
    n, strip, w, c = place(x.shape[3])
    h, height, row = np.int32(STRIP * strip), np.int32(x.shape[1]), np.int32(x.shape[2] * x.shape[3])
    if h < height and w < x.shape[2]:
        one, two, three, four = sums(x, n, h, w, c, before, after, True)
        i = at(x, h, w, np.int32(image(x, n) + c))
        write_shares(x, dy, d_x, ratio, i, one, k, per_term, beta)
        if h + 1 < height:
            write_shares(x, dy, d_x, ratio, np.int32(i + row), two, k, per_term, beta)
        if h + 2 < height:
            write_shares(x, dy, d_x, ratio, np.int32(i + 2 * row), three, k, per_term, beta)
        if h + 3 < height:
            write_shares(x, dy, d_x, ratio, np.int32(i + 3 * row), four, k, per_term, beta)


@device
def subtract(x, d_x, i, total, coupling):
    """Four channels of d_x's second part."""
    (a, b, c, d), (p, q, r, s) = load4(x, i), load4(d_x, i)
    p, q = p - coupling * a * total[0], q - coupling * b * total[1]
    store4(d_x, i, p, q, r - coupling * c * total[2], s - coupling * d * total[3])


@backward("cuda", over="d_x", grid=strips, threads=THREADS, writes="d_x", variant="vector")
def backward_vector_cuda(x, d_x, ratio, before, after, coupling):
    """d_x = its first part - coupling * x * the sum of ratios."""
    n, strip, w, c = place(x.shape[3])
    h, height, row = np.int32(STRIP * strip), np.int32(x.shape[1]), np.int32(x.shape[2] * x.shape[3])
    if h < height and w < x.shape[2]:
        one, two, three, four = sums(ratio, n, h, w, c, after, before, False)
        i = at(x, h, w, np.int32(image(x, n) + c))
        subtract(x, d_x, i, one, coupling)
        if h + 1 < height:
            subtract(x, d_x, np.int32(i + row), two, coupling)
        if h + 2 < height:
            subtract(x, d_x, np.int32(i + 2 * row), three, coupling)
        if h + 3 < height:
            subtract(x, d_x, np.int32(i + 3 * row), four, coupling)
