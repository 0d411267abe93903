"""Concatenation in CUDA, the variant ``vector``: two float4s of channels a thread."""

from netspec.plugin import Variant, backward, cuda, device, forward, load4, quotient, store4

THREADS = 256
CUT = {"over": "x", "each": "x", "threads": THREADS, "per_thread": 8, "linear": True}


@device
def place_of_four(four, channels, width, offset, span, total):
    """Where four channels lie in the output, all of whose parts are whole float4s; ``four`` counts those of x."""
    channels, width = channels >> 2, width >> 2
    row = quotient(four, channels)
    c, to = four - row * channels, row * total + offset
    if width < channels:
        group = quotient(c, width)
        return to + group * span + 4 * (c - group * width)
    return to + 4 * c


@device
def pair(size):
    """Which two float4s a thread copies; the second may be the first one again."""
    first = 2 * THREADS * cuda.blockIdx.x + cuda.threadIdx.x
    second = first + THREADS
    return first, second if 4 * second < size else first


@device
def places(first, second, channels, width, offset, span, total):
    """Where both lie in the output."""
    place = place_of_four(first, channels, width, offset, span, total)
    return place, place_of_four(second, channels, width, offset, span, total)


@device
def copy_pair(source, a, b, target, p, q):
    """Copy two float4s: both loads before the first store."""
    c, d = load4(source, a), load4(source, b)
    store4(target, p, c[0], c[1], c[2], c[3])
    store4(target, q, d[0], d[1], d[2], d[3])


@forward("cuda", writes="y", **CUT)
def forward_vector_cuda(x, y, channels, width, offset, span, total):
    first, second = pair(x.size)
    if 4 * first < x.size:
        p, q = places(first, second, channels, width, offset, span, total)
        copy_pair(x, 4 * first, 4 * second, y, p, q)


@backward("cuda", writes="d_x", **CUT)
def backward_vector_cuda(dy, d_x, channels, width, offset, span, total):
    first, second = pair(d_x.size)
    if 4 * first < d_x.size:
        p, q = places(first, second, channels, width, offset, span, total)
        copy_pair(dy, p, q, d_x, 4 * first, 4 * second)


def _supports(layer, t):
    groups = layer.attrs.groups or 1
    return all(x.shape[-1] // groups % 4 == 0 for x in t.inputs) and t.y.size < 2**32


VARIANT = Variant("vector", kernels=(forward_vector_cuda, backward_vector_cuda), supports=_supports)
