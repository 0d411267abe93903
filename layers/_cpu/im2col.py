"""Patches of images as rows of a matrix (im2col) and back (col2im): what turns convolution into matrix products.

Rows of output pixels are numbered through the batch: row r is output row ``r % OH`` of image ``r // OH``. A matrix
holds one patch a row, in the order of the weights: (KH, KW, channels of one group).
"""

from netspec.layers._window import Window, taps
from netspec.plugin import device

COLUMNS = 1 << 19
"""Elements of one patch matrix: 2 MiB of float32, large enough for BLAS and small enough for the cache."""


def rows_at_once(t) -> int:
    """Rows of output pixels whose patches make one matrix of about COLUMNS elements."""
    batch, out_h, out_w, filters = t.y.shape
    return min(max(1, COLUMNS // (out_w * (t.weight.size // filters))), batch * out_h)


@device
def top_of(row, window):
    """The image of a row of output pixels, and the first image row that its windows reach."""
    return row // window.out_h, row % window.out_h * window.stride_h - window.pad_top


@device
def span_of(ow, window, width, channels):
    """Elements [first, stop) of a patch's row that lie inside the image, and the image row's element at its start."""
    left, run = ow * window.stride_w - window.pad_left, window.size_w * channels
    first = min(max(0, -left) * channels, run)
    return first, max(min(run, (width - left) * channels), first), left * channels


@device
def im2col(x, columns, start, stop, window: Window):
    """Fill ``columns`` with the patches of output rows [start, stop), zero where they leave the image."""
    height, width, channels = x.shape[1], x.shape[2], x.shape[3]
    lines = x.reshape(x.shape[0] * height, width * channels)
    run = window.size_w * channels
    for row in range(start, stop):
        image, top = top_of(row, window)
        for ow in range(window.out_w):
            first, end, source = span_of(ow, window, width, channels)
            patch = columns[(row - start) * window.out_w + ow]
            for i in range(window.size_h):
                at = i * run
                if top + i < 0 or top + i >= height:
                    patch[at : at + run] = 0
                    continue
                line = lines[image * height + top + i]
                for e in range(first):
                    patch[at + e] = 0
                for e in range(first, end):
                    patch[at + e] = line[source + e]
                for e in range(end, run):
                    patch[at + e] = 0


@device
def col2im(d_x, columns, start, stop, window: Window):
    """Add the patches of output rows [start, stop) to the image pixels that they were taken from."""
    height, width, channels = d_x.shape[1], d_x.shape[2], d_x.shape[3]
    lines = d_x.reshape(d_x.shape[0] * height, width * channels)
    run = window.size_w * channels
    for row in range(start, stop):
        image, top = top_of(row, window)
        for ow in range(window.out_w):
            first, end, source = span_of(ow, window, width, channels)
            patch = columns[(row - start) * window.out_w + ow]
            for i in range(max(0, -top), min(window.size_h, height - top)):
                line, at = lines[image * height + top + i], i * run
                for e in range(first, end):
                    line[source + e] += patch[at + e]


@device
def im2col_group(x, columns, group, start, stop, window: Window):
    """As ``im2col``, for the channels of one group, as many as the columns have room for, and any dilation."""
    depth = columns.shape[1] // (window.size_h * window.size_w)
    for row in range(start, stop):
        image, top = top_of(row, window)
        for ow in range(window.out_w):
            left = ow * window.stride_w - window.pad_left
            patch = columns[(row - start) * window.out_w + ow].reshape(window.size_h, window.size_w, depth)
            for i in range(window.size_h):
                for j in range(window.size_w):
                    ih, iw = top + i * window.dilation_h, left + j * window.dilation_w
                    inside = 0 <= ih < x.shape[1] and 0 <= iw < x.shape[2]
                    for c in range(depth):
                        patch[i, j, c] = x[image, ih, iw, group * depth + c] if inside else 0.0


@device
def col2im_group(d_x, columns, group, start, stop, window: Window):
    """As ``col2im``, for the channels of one group, and any dilation."""
    depth = columns.shape[1] // (window.size_h * window.size_w)
    for row in range(start, stop):
        image, top = top_of(row, window)
        for ow in range(window.out_w):
            left = ow * window.stride_w - window.pad_left
            patch = columns[(row - start) * window.out_w + ow].reshape(window.size_h, window.size_w, depth)
            above, below = taps(top, window.size_h, window.dilation_h, d_x.shape[1])
            before, after = taps(left, window.size_w, window.dilation_w, d_x.shape[2])
            for i in range(above, below):
                for j in range(before, after):
                    ih, iw = top + i * window.dilation_h, left + j * window.dilation_w
                    for c in range(depth):
                        d_x[image, ih, iw, group * depth + c] += patch[i, j, c]
