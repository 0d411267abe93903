"""The fast CUDA response normalisation: a thread four channels, which it reads at once with their eight neighbours.

Windows of up to five channels round four, and the windows of those, lie within twelve. Each array is read from memory
once, as neighbours are in the cache; nothing passes between threads, and backward computes the scales anew instead of
reading them. Channels beyond an end of the group count as zeros.
"""

import math

from netspec.plugin import backward, cuda, device, forward, load4, quotient, rsqrt, store4

REACH = 5
"""Channels of the largest window."""


@device
def weights(before, after):
    """1.0 for those of the places -2, -1, 1 and 2 that a window reaches, else 0.0."""
    far, near = 1.0 if before > 1 else 0.0, 1.0 if before > 0 else 0.0
    return far, near, 1.0 if after > 0 else 0.0, 1.0 if after > 1 else 0.0


@device
def window(a, b, c, d, e, reach):
    """The sum of those of five neighbours that a window reaches."""
    return reach[0] * a + reach[1] * b + c + reach[2] * d + reach[3] * e


@device
def power(scale, beta):
    """scale ** -beta and 1 / scale; for the usual 0.75 by reciprocal square roots alone."""
    root = rsqrt(scale)
    inverse = root * root
    if beta == 0.75:
        return inverse * rsqrt(root), inverse
    return math.exp(beta * math.log(inverse)), inverse


@device
def share(x, dy, scale, beta):
    """The power of the scale, and x * dy * power / scale."""
    factor, inverse = power(scale, beta)
    return factor, x * dy * factor * inverse


@device
def sides(i, width):
    """Where to read the four channels before and behind; their own four where those are of another group."""
    first = i - quotient(i, width) * width
    return i - 4 if first > 0 else i, i + 4 if first + 4 < width else i


@device
def unless(same, values):
    """Zeros where what was read stands for channels beyond an end."""
    return (0.0, 0.0, 0.0, 0.0) if same else values


@forward("cuda", over="y", threads=256, per_thread=4, writes="y", variant="vector")
def forward_vector_cuda(x, y, width, before, after, k, per_term, beta):
    """y = x * power of the scale."""
    i = 4 * cuda.grid(1)
    if i < y.size:
        left, right = sides(i, width)
        _, _, a, b = unless(left == i, load4(x, left))
        c, d, e, f = load4(x, i)
        g, h, _, _ = unless(right == i, load4(x, right))
        r = weights(before, after)
        first, _ = power(k + per_term * window(a * a, b * b, c * c, d * d, e * e, r), beta)
        second, _ = power(k + per_term * window(b * b, c * c, d * d, e * e, f * f, r), beta)
        third, _ = power(k + per_term * window(c * c, d * d, e * e, f * f, g * g, r), beta)
        fourth, _ = power(k + per_term * window(d * d, e * e, f * f, g * g, h * h, r), beta)
        store4(y, i, c * first, d * second, e * third, f * fourth)


@backward("cuda", over="d_x", threads=256, per_thread=4, writes="d_x", variant="vector")
def backward_vector_cuda(x, dy, d_x, width, before, after, k, per_term, coupling, beta):
    """d_x = dy * power - coupling * x * the sum of x * dy * power / scale over the channels that x is scaled with."""
    i = 4 * cuda.grid(1)
    if i < d_x.size:
        left, right = sides(i, width)
        x0, x1, x2, x3 = unless(left == i, load4(x, left))
        x4, x5, x6, x7 = load4(x, i)
        x8, x9, x10, x11 = unless(right == i, load4(x, right))
        _, _, g2, g3 = load4(dy, left)
        g4, g5, g6, g7 = load4(dy, i)
        g8, g9, _, _ = load4(dy, right)
        q0, q1, q2, q3, q4, q5 = x0 * x0, x1 * x1, x2 * x2, x3 * x3, x4 * x4, x5 * x5
        q6, q7, q8, q9, q10, q11 = x6 * x6, x7 * x7, x8 * x8, x9 * x9, x10 * x10, x11 * x11
        r = weights(before, after)
        _, s2 = share(x2, g2, k + per_term * window(q0, q1, q2, q3, q4, r), beta)
        _, s3 = share(x3, g3, k + per_term * window(q1, q2, q3, q4, q5, r), beta)
        p4, s4 = share(x4, g4, k + per_term * window(q2, q3, q4, q5, q6, r), beta)
        p5, s5 = share(x5, g5, k + per_term * window(q3, q4, q5, q6, q7, r), beta)
        p6, s6 = share(x6, g6, k + per_term * window(q4, q5, q6, q7, q8, r), beta)
        p7, s7 = share(x7, g7, k + per_term * window(q5, q6, q7, q8, q9, r), beta)
        _, s8 = share(x8, g8, k + per_term * window(q6, q7, q8, q9, q10, r), beta)
        _, s9 = share(x9, g9, k + per_term * window(q7, q8, q9, q10, q11, r), beta)
        r = weights(after, before)
        store4(
            d_x,
            i,
            g4 * p4 - coupling * x4 * window(s2, s3, s4, s5, s6, r),
            g5 * p5 - coupling * x5 * window(s3, s4, s5, s6, s7, r),
            g6 * p6 - coupling * x6 * window(s4, s5, s6, s7, s8, r),
            g7 * p7 - coupling * x7 * window(s5, s6, s7, s8, s9, r),
        )
