"""The fast CUDA pooling: four channels a thread in 128-bit accesses, four rows a block, whose reads share the cache.

Forward a thread takes a place of y and reads its window, three pixels of a row at a time. Backward it takes the
stride x stride pixels whose last window is the same: at most four windows cover all of these, as long as no window is
larger than two strides, and their gradients are read once for all.
"""

from netspec.plugin import Lazy, backward, cuda, device, forward, load4, quotient, store4

np = Lazy("numpy")
COLUMNS, ROWS = 64, 4
"""Threads of a block: fours of channels along a row, and rows."""
NONE = -1
"""No place of a window: what a pixel outside it has."""
NOWHERE = -2
"""No place at all: where the maximum of a window lies that does not exist."""


def outputs(t):
    """Blocks for all rows of y."""
    return grid(t.y.shape[0] * t.y.shape[1], t.y.shape[2] * t.y.shape[3])


def grid(rows, width):
    """Blocks for so many rows of so many elements."""
    return -(-rows // ROWS), -(-width // (4 * COLUMNS))


@device
def place(rows, channels):
    """Image, row in the image, column and first channel of a thread, where images have so many rows."""
    row, four = ROWS * cuda.blockIdx.x + cuda.threadIdx.y, COLUMNS * cuda.blockIdx.y + cuda.threadIdx.x
    n, column = quotient(row, rows), quotient(four, channels // 4)
    return n, np.int32(row - n * rows), column, np.int32(4 * four - column * channels)


@device
def index(array, n, h, w, c):
    """Where an element lies in the array's memory."""
    return ((n * array.shape[1] + h) * array.shape[2] + w) * array.shape[3] + c


@device
def clipped(position, stride, pad, size, length):
    """The pixels [first, stop) of a window that lie inside the image, and where in the window the first one is."""
    start = position * stride - pad
    first = max(start, 0)
    return np.int32(first), np.int32(min(start + size, length)), np.int32(first - start)


# Forward ------------------------------------------------------------------------------------------------------------


@device
def better(best, where, value, here):
    """The larger of two values and where it is; the first of equal ones, and the first NaN."""
    larger = value > best or (value != value and best == best)
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
def maximum(x, n, c, top, bottom, left, right, here, size_w):
    """The largest pixel of a window in four channels and where it is; ``here`` is the place of the first pixel."""
    i, channels, last = index(x, n, top, left, c), x.shape[3], right - left - 1
    best, where = load4(x, i), (here, here, here, here)
    for _ in range(top, bottom):
        for j in range(0, last + 1, 3):
            j1, j2 = min(j + 1, last), min(j + 2, last)  # a pixel that comes again is no larger
            v0, v1, v2 = load4(x, i + j * channels), load4(x, i + j1 * channels), load4(x, i + j2 * channels)
            best, where = better4(best, where, v0, np.int32(here + j))
            best, where = better4(best, where, v1, np.int32(here + j1))
            best, where = better4(best, where, v2, np.int32(here + j2))
        i += x.shape[2] * channels
        here = np.int32(here + size_w)
    return best, where


@forward(
    "cuda",
    over="y",
    threads=(COLUMNS, ROWS),
    grid=outputs,
    writes=("y", "argmax"),
    when={"mode": "max"},
    phases=("train",),
    variant="vector",
)
def max_vector_cuda(x, y, argmax, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    """Maxima and their places."""
    n, oh, ow, c = place(y.shape[1], y.shape[3])
    if n < y.shape[0] and ow < y.shape[2]:
        top, bottom, row = clipped(oh, stride_h, pad_top, size_h, x.shape[1])
        left, right, column = clipped(ow, stride_w, pad_left, size_w, x.shape[2])
        best, where = maximum(x, n, c, top, bottom, left, right, np.int32(row * size_w + column), size_w)
        i = index(y, n, oh, ow, c)
        store4(y, i, best[0], best[1], best[2], best[3])
        store4(argmax, i, where[0], where[1], where[2], where[3])


@forward(
    "cuda",
    over="y",
    threads=(COLUMNS, ROWS),
    grid=outputs,
    writes="y",
    when={"mode": "max"},
    phases=("eval", "predict"),
    variant="vector",
)
def max_only_vector_cuda(x, y, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    """Maxima alone."""
    n, oh, ow, c = place(y.shape[1], y.shape[3])
    if n < y.shape[0] and ow < y.shape[2]:
        top, bottom, row = clipped(oh, stride_h, pad_top, size_h, x.shape[1])
        left, right, column = clipped(ow, stride_w, pad_left, size_w, x.shape[2])
        best, _ = maximum(x, n, c, top, bottom, left, right, np.int32(row * size_w + column), size_w)
        store4(y, index(y, n, oh, ow, c), best[0], best[1], best[2], best[3])


@device
def added(total, values, factor):
    """total + factor * values for four channels."""
    return (
        total[0] + factor * values[0],
        total[1] + factor * values[1],
        total[2] + factor * values[2],
        total[3] + factor * values[3],
    )


@forward(
    "cuda",
    over="y",
    threads=(COLUMNS, ROWS),
    grid=outputs,
    writes="y",
    when={"mode": "average"},
    variant="vector",
)
def average_vector_cuda(x, y, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    """Averages over the pixels of windows that lie inside."""
    n, oh, ow, c = place(y.shape[1], y.shape[3])
    if n < y.shape[0] and ow < y.shape[2]:
        top, bottom, _ = clipped(oh, stride_h, pad_top, size_h, x.shape[1])
        left, right, _ = clipped(ow, stride_w, pad_left, size_w, x.shape[2])
        i, channels, last = index(x, n, top, left, c), x.shape[3], right - left - 1
        total = (0.0, 0.0, 0.0, 0.0)
        for _ in range(top, bottom):
            for j in range(0, last + 1, 3):
                j1, j2 = min(j + 1, last), min(j + 2, last)  # a pixel that comes again counts as nothing
                v0, v1, v2 = load4(x, i + j * channels), load4(x, i + j1 * channels), load4(x, i + j2 * channels)
                total = added(total, v0, 1.0)
                total = added(total, v1, 1.0 if j1 > j else 0.0)
                total = added(total, v2, 1.0 if j2 > j1 else 0.0)
            i += x.shape[2] * channels
        share = 1.0 / np.float32((bottom - top) * (right - left))
        i = index(y, n, oh, ow, c)
        store4(y, i, total[0] * share, total[1] * share, total[2] * share, total[3] * share)


# Backward -----------------------------------------------------------------------------------------------------------


def cells(t):
    """Blocks for all rows of cells; an image has at most two more rows and columns of them than windows."""
    return grid(t.x.shape[0] * (t.y.shape[1] + 2), (t.y.shape[2] + 2) * t.x.shape[3])


@device
def cell(d_x, stride_h, stride_w, pad_top, pad_left):
    """Image, row and column of a thread's cell, its first channel, and how many columns of cells an image has."""
    rows = quotient(d_x.shape[1] + pad_top + stride_h - 1, stride_h)
    n, row, column, c = place(rows, d_x.shape[3])
    return n, row, column, c, quotient(d_x.shape[2] + pad_left + stride_w - 1, stride_w)


@device
def window_max(dy, argmax, n, oh, ow, c):
    """A window's gradients of four channels and the places of their maxima; of one that does not exist zeros."""
    if oh >= 0 and oh < dy.shape[1] and ow >= 0 and ow < dy.shape[2]:
        i = index(dy, n, oh, ow, c)
        w0, w1, w2, w3 = load4(argmax, i)
        return load4(dy, i), (np.int32(w0), np.int32(w1), np.int32(w2), np.int32(w3))
    return (0.0, 0.0, 0.0, 0.0), (np.int32(NOWHERE), np.int32(NOWHERE), np.int32(NOWHERE), np.int32(NOWHERE))


@device
def inside(position, size):
    """The position in a window, NONE behind its end."""
    return np.int32(position if position < size else NONE)


@device
def joined(row, column, size_w):
    """A place in a window from its row and its column."""
    return np.int32(row * size_w + column if row >= 0 and column >= 0 else NONE)


@device
def taken(total, where, values, here):
    """The gradients of those channels whose maximum is here."""
    return (
        total[0] + (values[0] if where[0] == here else 0.0),
        total[1] + (values[1] if where[1] == here else 0.0),
        total[2] + (values[2] if where[2] == here else 0.0),
        total[3] + (values[3] if where[3] == here else 0.0),
    )


@backward(
    "cuda",
    over="d_x",
    threads=(COLUMNS, ROWS),
    grid=cells,
    writes="d_x",
    when={"mode": "max"},
    variant="vector",
)
def d_max_vector_cuda(dy, argmax, d_x, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    """Each maximum gets the gradient of its window."""
    n, oh, ow, c, columns = cell(d_x, stride_h, stride_w, pad_top, pad_left)
    if n < d_x.shape[0] and ow < columns:
        g0, w0 = window_max(dy, argmax, n, oh - 1, ow - 1, c)
        g1, w1 = window_max(dy, argmax, n, oh - 1, ow, c)
        g2, w2 = window_max(dy, argmax, n, oh, ow - 1, c)
        g3, w3 = window_max(dy, argmax, n, oh, ow, c)
        top, bottom, first = clipped(oh, stride_h, pad_top, stride_h, d_x.shape[1])
        left, right, start = clipped(ow, stride_w, pad_left, stride_w, d_x.shape[2])
        row = index(d_x, n, top, left, c)
        for i in range(first, np.int32(first + bottom - top)):
            above, below, to = inside(i + stride_h, size_h), inside(i, size_h), row
            for j in range(start, np.int32(start + right - left)):
                before, after = inside(j + stride_w, size_w), inside(j, size_w)
                total = taken((0.0, 0.0, 0.0, 0.0), w0, g0, joined(above, before, size_w))
                total = taken(total, w1, g1, joined(above, after, size_w))
                total = taken(total, w2, g2, joined(below, before, size_w))
                total = taken(total, w3, g3, joined(below, after, size_w))
                store4(d_x, to, total[0], total[1], total[2], total[3])
                to += d_x.shape[3]
            row += d_x.shape[2] * d_x.shape[3]


@device
def window_average(dy, d_x, n, oh, ow, c, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    """What each pixel of a window gets of its gradients; of one that does not exist zeros."""
    if oh >= 0 and oh < dy.shape[1] and ow >= 0 and ow < dy.shape[2]:
        top, bottom, _ = clipped(oh, stride_h, pad_top, size_h, d_x.shape[1])
        left, right, _ = clipped(ow, stride_w, pad_left, size_w, d_x.shape[2])
        values = load4(dy, index(dy, n, oh, ow, c))
        return added((0.0, 0.0, 0.0, 0.0), values, 1.0 / np.float32((bottom - top) * (right - left)))
    return 0.0, 0.0, 0.0, 0.0


@device
def covered(row, column):
    """1.0 for a pixel that lies in a window, else 0.0."""
    return 1.0 if row >= 0 and column >= 0 else 0.0


@backward(
    "cuda",
    over="d_x",
    threads=(COLUMNS, ROWS),
    grid=cells,
    writes="d_x",
    when={"mode": "average"},
    variant="vector",
)
def d_average_vector_cuda(dy, d_x, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    """Each pixel gets its share of the gradient of all windows that it lies in."""
    n, oh, ow, c, columns = cell(d_x, stride_h, stride_w, pad_top, pad_left)
    if n < d_x.shape[0] and ow < columns:
        s, r, t, u, v, w = size_h, size_w, stride_h, stride_w, pad_top, pad_left
        g0 = window_average(dy, d_x, n, oh - 1, ow - 1, c, s, r, t, u, v, w)
        g1 = window_average(dy, d_x, n, oh - 1, ow, c, s, r, t, u, v, w)
        g2 = window_average(dy, d_x, n, oh, ow - 1, c, s, r, t, u, v, w)
        g3 = window_average(dy, d_x, n, oh, ow, c, s, r, t, u, v, w)
        top, bottom, first = clipped(oh, stride_h, pad_top, stride_h, d_x.shape[1])
        left, right, start = clipped(ow, stride_w, pad_left, stride_w, d_x.shape[2])
        row = index(d_x, n, top, left, c)
        for i in range(first, np.int32(first + bottom - top)):
            above, below, to = inside(i + stride_h, size_h), inside(i, size_h), row
            for j in range(start, np.int32(start + right - left)):
                before, after = inside(j + stride_w, size_w), inside(j, size_w)
                total = added((0.0, 0.0, 0.0, 0.0), g0, covered(above, before))
                total = added(total, g1, covered(above, after))
                total = added(total, g2, covered(below, before))
                total = added(total, g3, covered(below, after))
                store4(d_x, to, total[0], total[1], total[2], total[3])
                to += d_x.shape[3]
            row += d_x.shape[2] * d_x.shape[3]
