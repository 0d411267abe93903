"""Response normalisation in CUDA: the powers of scales by reciprocal square roots."""

import math

from netspec.layers._normalisation import scale_of
from netspec.plugin import device, rsqrt


@device
def power(scale, beta, usual):
    """scale ** -beta and 1 / scale; for the usual 0.75 by reciprocal square roots alone."""
    root = rsqrt(scale)
    inverse = root * root
    if usual:
        return inverse * rsqrt(root), inverse
    return math.exp(beta * math.log(inverse)), inverse


@device
def scaled(x, sums, response, usual):
    """Four channels times the powers of their scales."""
    a, _ = power(scale_of(sums[0], response), response.beta, usual)
    b, _ = power(scale_of(sums[1], response), response.beta, usual)
    c, _ = power(scale_of(sums[2], response), response.beta, usual)
    d, _ = power(scale_of(sums[3], response), response.beta, usual)
    return x[0] * a, x[1] * b, x[2] * c, x[3] * d


@device
def share(x, dy, total, response, usual):
    """dy * power, and x * dy * power / scale."""
    factor, inverse = power(scale_of(total, response), response.beta, usual)
    part = dy * factor
    return part, x * part * inverse


@device
def shares(x, dy, sums, response, usual):
    """The same for four channels."""
    a, p = share(x[0], dy[0], sums[0], response, usual)
    b, q = share(x[1], dy[1], sums[1], response, usual)
    c, r = share(x[2], dy[2], sums[2], response, usual)
    d, s = share(x[3], dy[3], sums[3], response, usual)
    return (a, b, c, d), (p, q, r, s)
