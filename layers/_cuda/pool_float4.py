"""Pooling in CUDA, the variant ``vector``: a float4 of channels a thread, four rows a block, whose reads share caches.

Forward a thread takes a place of y and reads its window, nine pixels at once: three rows of three where the window is
no wider, else a row. Backward it takes the stride x stride pixels whose last window is the same: at most four windows
cover all of these, as long as no window is larger than two strides, and their gradients are read once for all. What
would lie outside is replaced by something inside that counts for nothing, so that no load waits for a condition.
"""

import math

from netspec.layers._cuda import float4
from netspec.layers._cuda.float4 import THREADS, at, blocks, image, place
from netspec.layers._window import Window
from netspec.plugin import Lazy, Variant, backward, device, forward, load4, store4

np = Lazy("numpy")
LEAST = -math.inf
"""Where a maximum starts: no number is less, and a NaN takes its place."""
NONE = -1
"""No place of a window: what a pixel outside it has."""

ANYWHERE = (((0,) * 4),) * 4
"""The places of maxima where all pixels of a window count alike."""


def outputs(t):
    """Blocks for all rows of y."""
    return blocks(t, t.y.shape[1], t.y.shape[2])


def cells(t):
    """Blocks for all rows of cells; an image has at most two more rows and columns of them than windows."""
    return blocks(t, t.y.shape[1] + 2, t.y.shape[2] + 2)


OF_OUTPUTS = {"over": "y", "grid": outputs, "threads": THREADS}
OF_CELLS = {"over": "d_x", "grid": cells, "threads": THREADS}
"""How passes are cut."""
MAX, AVERAGE = {"mode": "max"}, {"mode": "average"}


@device
def clipped(position, stride, pad, size, length):
    """The pixels [first, stop) of a window that lie inside the image, and where in the window the first one is."""
    start = np.int32(position * stride - pad)
    first, stop = max(start, np.int32(0)), min(np.int32(start + size), np.int32(length))
    return first, stop, np.int32(first - start)


@device
def clipped_window(window, oh, ow, x):
    """``clipped`` for both axes of window (oh, ow)."""
    rows = clipped(oh, window.stride_h, window.pad_top, window.size_h, x.shape[1])
    return rows, clipped(ow, window.stride_w, window.pad_left, window.size_w, x.shape[2])


@device
def three(x, row, columns):
    """Three pixels of a row."""
    a, b, c = np.int32(row + columns[0]), np.int32(row + columns[1]), np.int32(row + columns[2])
    return load4(x, a), load4(x, b), load4(x, c)


@device
def columns_from(column, last, channels):
    """Where three neighbours lie in a row, none behind the last one."""
    second, third = min(np.int32(column + 1), last), min(np.int32(column + 2), last)
    return np.int32(column * channels), np.int32(second * channels), np.int32(third * channels)


@device
def nine(x, start, row, last_row, columns):
    """Three pixels each of three neighbouring rows, none behind the last one."""
    width = np.int32(x.shape[2] * x.shape[3])
    second, third = min(np.int32(row + 1), last_row), min(np.int32(row + 2), last_row)
    a, b, c = np.int32(row * width + start), np.int32(second * width + start), np.int32(third * width + start)
    return three(x, a, columns), three(x, b, columns), three(x, c, columns)


# Forward ------------------------------------------------------------------------------------------------------------


@device
def better(best, where, value, here):
    """The larger of two values and where it is; the first of equal ones, and the first NaN."""
    larger = (not value <= best) & (best == best)
    return value if larger else best, here if larger else where


@device
def better4(best, where, values, here):
    """The same for four channels."""
    b0, w0 = better(best[0], where[0], values[0], here)
    b1, w1 = better(best[1], where[1], values[1], here)
    b2, w2 = better(best[2], where[2], values[2], here)
    b3, w3 = better(best[3], where[3], values[3], here)
    return (b0, b1, b2, b3), (w0, w1, w2, w3)


@device
def better12(best, where, values, here):
    """The same for three neighbours."""
    best, where = better4(best, where, values[0], here)
    best, where = better4(best, where, values[1], np.int32(here + 1))
    return better4(best, where, values[2], np.int32(here + 2))


@device
def maximum(x, n, oh, ow, c, window):
    """The largest pixel of a window in four channels and where it is; one that is read again is no larger."""
    (top, bottom, skipped), (left, right, column) = clipped_window(window, oh, ow, x)
    wide, channels, rows = np.int32(window.size_w), np.int32(x.shape[3]), np.int32(3 if window.size_w <= 3 else 1)
    here, last, row, start = np.int32(skipped * wide + column), np.int32(right - 1), top, np.int32(image(x, n) + c)
    best, where = (LEAST, LEAST, LEAST, LEAST), (here, here, here, here)
    while row < bottom:
        end = np.int32(min(np.int32(row + rows), bottom) - 1)
        i, first = left, here
        while i < right:
            u, v, w = nine(x, start, row, end, columns_from(i, last, channels))
            best, where = better12(best, where, u, first)
            best, where = better12(best, where, v, np.int32(first + wide))
            best, where = better12(best, where, w, np.int32(first + 2 * wide))
            i, first = np.int32(i + 3), np.int32(first + 3)
        row, here = np.int32(row + rows), np.int32(here + rows * wide)
    return best, where


@device
def write(array, to, values):
    """Four channels of a pixel."""
    store4(array, to, values[0], values[1], values[2], values[3])


@forward("cuda", writes=("y", "argmax"), when=MAX, phases=("train",), **OF_OUTPUTS)
def max_vector_cuda(x, y, argmax, window: Window):
    """Maxima and their places."""
    n, oh, ow, c = place(y.shape[3])
    if oh < y.shape[1] and ow < y.shape[2]:
        best, where = maximum(x, n, oh, ow, c, window)
        to = at(y, oh, ow, np.int32(image(y, n) + c))
        write(y, to, best)
        write(argmax, to, where)


@forward("cuda", writes="y", when=MAX, phases=("eval", "predict"), **OF_OUTPUTS)
def max_only_vector_cuda(x, y, window: Window):
    """Maxima alone."""
    n, oh, ow, c = place(y.shape[3])
    if oh < y.shape[1] and ow < y.shape[2]:
        best, _ = maximum(x, n, oh, ow, c, window)
        write(y, at(y, oh, ow, np.int32(image(y, n) + c)), best)


@device
def added(total, values, factor):
    """total + factor * values for four channels."""
    return (
        total[0] + factor * values[0],
        total[1] + factor * values[1],
        total[2] + factor * values[2],
        total[3] + factor * values[3],
    )


@device
def added12(total, values, inside, more):
    """The same for three neighbours of a row, behind whose first one so many more are inside, if the row is."""
    total = added(total, values[0], 1.0 if inside else 0.0)
    total = added(total, values[1], 1.0 if inside and more > 0 else 0.0)
    return added(total, values[2], 1.0 if inside and more > 1 else 0.0)


@forward("cuda", writes="y", when=AVERAGE, **OF_OUTPUTS)
def average_vector_cuda(x, y, window: Window):
    """Averages over the pixels of windows that lie inside."""
    n, oh, ow, c = place(y.shape[3])
    if oh < y.shape[1] and ow < y.shape[2]:
        (top, bottom, _), (left, right, _) = clipped_window(window, oh, ow, x)
        start, channels, row = np.int32(image(x, n) + c), np.int32(x.shape[3]), top
        end, last, total = np.int32(bottom - 1), np.int32(right - 1), (0.0, 0.0, 0.0, 0.0)
        while row < bottom:
            i = left
            while i < right:
                u, v, w = nine(x, start, row, end, columns_from(i, last, channels))
                total = added12(total, u, True, last - i)
                total = added12(total, v, row + 1 < bottom, last - i)
                total = added12(total, w, row + 2 < bottom, last - i)
                i = np.int32(i + 3)
            row = np.int32(row + 3)
        share = 1.0 / np.float32((bottom - top) * (right - left))
        write(y, at(y, oh, ow, np.int32(image(y, n) + c)), added((0.0, 0.0, 0.0, 0.0), total, share))


# Backward -----------------------------------------------------------------------------------------------------------


@device
def is_cell(d_x, row, column, window):
    """Whether a cell's first pixel lies inside the image, or before it."""
    top = np.int32(row * window.stride_h - window.pad_top)
    left = np.int32(column * window.stride_w - window.pad_left)
    return top < np.int32(d_x.shape[1]) and left < np.int32(d_x.shape[2])


@device
def windows(dy, n, oh, ow, c):
    """Where the four windows of a cell lie in memory; in place of those that do not exist the nearest ones."""
    above, below = max(np.int32(oh - 1), np.int32(0)), min(oh, np.int32(dy.shape[1] - 1))
    before, after = max(np.int32(ow - 1), np.int32(0)), min(ow, np.int32(dy.shape[2] - 1))
    c = np.int32(image(dy, n) + c)
    return at(dy, above, before, c), at(dy, above, after, c), at(dy, below, before, c), at(dy, below, after, c)


@device
def reach(window, size, count):
    """How many pixels a window has along an axis: none if it does not exist."""
    return np.int32(size if window >= 0 and window < np.int32(count) else 0)


@device
def inside(position, size):
    """The position in a window, NONE behind its end."""
    return np.int32(np.int32(position) if np.int32(position) < size else NONE)


@device
def joined(row, column, size_w, everywhere):
    """A place in a window from its row and its column; 0 for each where all count alike."""
    at = 0 if everywhere else row * size_w + column
    return np.int32(at if row >= 0 and column >= 0 else NONE)


@device
def taken(total, where, values, here):
    """total and the gradients of those channels whose maximum is here."""
    a, b, c, d = total
    a = a + values[0] if where[0] == here else a
    b = b + values[1] if where[1] == here else b
    c = c + values[2] if where[2] == here else c
    d = d + values[3] if where[3] == here else d
    return a, b, c, d


@device
def spread(d_x, y, thread, where, values, window, everywhere):
    """Write the pixels of a cell: of its four windows' gradients those whose place they are."""
    n, oh, ow, c = thread
    size_h, size_w, stride_h, stride_w = window.size_h, window.size_w, window.stride_h, window.stride_w
    top, bottom, first = clipped(oh, stride_h, window.pad_top, stride_h, d_x.shape[1])
    left, right, start = clipped(ow, stride_w, window.pad_left, stride_w, d_x.shape[2])
    high, low = reach(np.int32(oh - 1), size_h, y.shape[1]), reach(oh, size_h, y.shape[1])
    near, far = reach(np.int32(ow - 1), size_w, y.shape[2]), reach(ow, size_w, y.shape[2])
    width, under, behind = np.int32(size_w), np.int32(first + bottom - top), np.int32(start + right - left)
    row, i = at(d_x, top, left, np.int32(image(d_x, n) + c)), first
    while i < under:
        above, below, to, j = inside(i + stride_h, high), inside(i, low), row, start
        while j < behind:
            before, after = inside(j + stride_w, near), inside(j, far)
            total = taken((0.0, 0.0, 0.0, 0.0), where[3], values[3], joined(below, after, width, everywhere))
            if before >= 0:
                total = taken(total, where[2], values[2], joined(below, before, width, everywhere))
            if above >= 0:
                total = taken(total, where[1], values[1], joined(above, after, width, everywhere))
                if before >= 0:
                    total = taken(total, where[0], values[0], joined(above, before, width, everywhere))
            store4(d_x, to, total[0], total[1], total[2], total[3])
            to, j = np.int32(to + d_x.shape[3]), np.int32(j + 1)
        row, i = np.int32(row + d_x.shape[2] * d_x.shape[3]), np.int32(i + 1)


@backward("cuda", writes="d_x", when=MAX, **OF_CELLS)
def d_max_vector_cuda(dy, argmax, d_x, window: Window):
    """Each maximum gets the gradient of its window."""
    n, oh, ow, c = place(d_x.shape[3])
    if is_cell(d_x, oh, ow, window):
        i, j, k, m = windows(dy, n, oh, ow, c)
        where = load4(argmax, i), load4(argmax, j), load4(argmax, k), load4(argmax, m)
        values = load4(dy, i), load4(dy, j), load4(dy, k), load4(dy, m)
        spread(d_x, dy, (n, oh, ow, c), where, values, window, False)


@device
def pixels(clip, position, count):
    """How many pixels of a window lie inside along an axis; of one that does not exist 1."""
    return np.float32(np.int32(clip[1] - clip[0] if position >= 0 and position < np.int32(count) else 1))


@backward("cuda", writes="d_x", when=AVERAGE, **OF_CELLS)
def d_average_vector_cuda(dy, d_x, window: Window):
    """Each pixel gets its share of the gradient of all windows that it lies in."""
    n, oh, ow, c = place(d_x.shape[3])
    if is_cell(d_x, oh, ow, window):
        i, j, k, m = windows(dy, n, oh, ow, c)
        a, b, d, e = load4(dy, i), load4(dy, j), load4(dy, k), load4(dy, m)
        above, before = np.int32(oh - 1), np.int32(ow - 1)
        first, last = clipped_window(window, above, before, d_x), clipped_window(window, oh, ow, d_x)
        high, low = pixels(first[0], above, dy.shape[1]), pixels(last[0], oh, dy.shape[1])
        near, far = pixels(first[1], before, dy.shape[2]), pixels(last[1], ow, dy.shape[2])
        share = 1.0 / (high * low * near * far)  # one division for all four
        values = (
            added((0.0, 0.0, 0.0, 0.0), a, share * low * far),
            added((0.0, 0.0, 0.0, 0.0), b, share * low * near),
            added((0.0, 0.0, 0.0, 0.0), d, share * high * far),
            added((0.0, 0.0, 0.0, 0.0), e, share * high * near),
        )
        spread(d_x, dy, (n, oh, ow, c), ANYWHERE, values, window, True)


def _supports(layer, t):
    """Channels in float4s, windows of at most two strides, and averages of the pixels that are there."""
    window = layer.window(t)
    if layer.attrs.count_include_pad or window.dilation != (1, 1):
        return False
    near = window.size_h <= 2 * window.stride_h and window.size_w <= 2 * window.stride_w
    return near and float4.fits(t.x) and float4.fits(t.y)


VARIANT = Variant(
    "vector",
    kernels=(max_vector_cuda, max_only_vector_cuda, d_max_vector_cuda, average_vector_cuda, d_average_vector_cuda),
    supports=_supports,
)
