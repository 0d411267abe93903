"""Response normalisation across channels in CUDA, the variant ``vector``: float4s, neighbours by warp shuffles.

Windows of up to five channels round a float4 lie within three of them. The first and the last lane of a warp only help:
they write nothing, so that a warp reads 32 float4s of channels and writes 30, twice. Each array is read once; backward
computes the scales anew instead of reading them. Channels beyond an end of the group count as zeros.
"""

from netspec.layers._cuda.response_power import scaled, shares
from netspec.layers._normalisation import Response
from netspec.plugin import (
    Lazy,
    Variant,
    backward,
    backward_epilogue,
    cuda,
    device,
    forward,
    load4,
    quotient,
    shuffle_down,
    shuffle_up,
    store4,
)

np = Lazy("numpy")
REACH = 5
"""Channels of the largest window."""
THREADS, WRITERS, WRITES = 256, 30, 60
"""Threads of a block, and float4s of channels that a warp writes at once and in all."""
FLOAT4S = THREADS // 32 * WRITES
"""Float4s of channels that a block writes."""


def blocks(t):
    """Blocks for all channels."""
    return (-(-t.x.size // (4 * FLOAT4S)),)


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
def windows(values, first, last, reach):
    """The sums over the windows of four channels, whose neighbours the lanes beside hold, or none at the ends."""
    a, b, c, d = values
    y, z = shuffle_up(c, 1), shuffle_up(d, 1)
    e, f = shuffle_down(a, 1), shuffle_down(b, 1)
    y, z, e, f = 0.0 if first else y, 0.0 if first else z, 0.0 if last else e, 0.0 if last else f
    p, q = window(y, z, a, b, c, reach), window(z, a, b, c, d, reach)
    return p, q, window(a, b, c, d, e, reach), window(b, c, d, e, f, reach)


@device
def lane_and_four():
    """A thread's place in its warp, and which four channels it has first: -1 where it helps the first one."""
    lane, warp = np.int32(cuda.threadIdx.x & 31), np.int32(cuda.threadIdx.x >> 5)
    return lane, np.int32(np.int32(cuda.blockIdx.x * FLOAT4S + lane - 1) + warp * WRITES)


@device
def existing(four, size):
    """The nearest four channels that there are."""
    return min(max(four, np.int32(0)), np.int32(np.int32(size >> 2) - 1))


@device
def ends(four, width):
    """Whether four channels are the first and the last ones of their group."""
    group = np.int32(width >> 2)
    place = np.int32(four - quotient(four, group) * group)
    return place == 0, place == np.int32(group - 1)


@device
def writes(lane, four, size):
    """Whether a thread writes these four channels."""
    return lane > 0 and lane <= WRITERS and four < np.int32(size >> 2)


@device
def squares(x):
    """The squares of four numbers."""
    return x[0] * x[0], x[1] * x[1], x[2] * x[2], x[3] * x[3]


@device
def normalised(values, four, width, reach, response):
    """Four channels, normalised."""
    first, last = ends(four, width)
    sums = windows(squares(values), first, last, reach)
    if response.beta == 0.75:
        return scaled(values, sums, response, True)
    return scaled(values, sums, response, False)


@forward("cuda", over="y", grid=blocks, threads=THREADS, linear=True, writes="y")
def forward_vector_cuda(x, y, width, response: Response):
    """y = x * power of the scale."""
    lane, four = lane_and_four()
    i, j = existing(four, x.size), existing(np.int32(four + WRITERS), x.size)
    a, b, reach = load4(x, 4 * i), load4(x, 4 * j), weights(response.before, response.after)
    a = normalised(a, i, width, reach, response)
    b = normalised(b, j, width, reach, response)
    if writes(lane, four, x.size):
        store4(y, 4 * i, a[0], a[1], a[2], a[3])
    if writes(lane, np.int32(four + WRITERS), x.size):
        store4(y, 4 * j, b[0], b[1], b[2], b[3])


@device
def gradient(x, dy, four, width, reach, back, response):
    """The gradients of four channels."""
    first, last = ends(four, width)
    sums = windows(squares(x), first, last, reach)
    if response.beta == 0.75:
        own, parts = shares(x, dy, sums, response, True)
    else:
        own, parts = shares(x, dy, sums, response, False)
    p, q, r, s = windows(parts, first, last, back)
    p, q, r, s, coupling = x[0] * p, x[1] * q, x[2] * r, x[3] * s, response.coupling
    return own[0] - coupling * p, own[1] - coupling * q, own[2] - coupling * r, own[3] - coupling * s


@device
def put(d_x, residual, four, values):
    """Four channels of the gradient, through what follows."""
    a, b, c, d = backward_epilogue(values[0], values[1], values[2], values[3], residual, 4 * four, 4, True)
    store4(d_x, 4 * four, a, b, c, d)


@backward("cuda", over="d_x", grid=blocks, threads=THREADS, linear=True, writes="d_x")
def backward_vector_cuda(x, dy, d_x, residual, width, response: Response):
    """d_x = dy * power - coupling * x * the sum of x * dy * power / scale over the channels that x is scaled with."""
    lane, four = lane_and_four()
    i, j = existing(four, x.size), existing(np.int32(four + WRITERS), x.size)
    x0, dy0, x1, dy1 = load4(x, 4 * i), load4(dy, 4 * i), load4(x, 4 * j), load4(dy, 4 * j)
    reach, back = weights(response.before, response.after), weights(response.after, response.before)
    a = gradient(x0, dy0, i, width, reach, back, response)
    b = gradient(x1, dy1, j, width, reach, back, response)
    if writes(lane, four, x.size):
        put(d_x, residual, i, a)
    if writes(lane, np.int32(four + WRITERS), x.size):
        put(d_x, residual, j, b)


def _supports(layer, t):
    return layer.attrs.size <= REACH and layer.width(t) % 4 == 0 and t.x.size < 2**32


VARIANT = Variant("vector", kernels=(forward_vector_cuda, backward_vector_cuda), supports=_supports)
