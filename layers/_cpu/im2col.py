"""Patches of images as rows of a matrix (im2col) and back (col2im): what turns convolution into matrix products.

Rows of output pixels are numbered through the batch: row r is output row ``r % OH`` of image ``r // OH``. A matrix
holds one patch a line, in the order of the weights: (KH, KW, channels of one group).
"""

from netspec.plugin import device

COLUMNS = 1 << 19
"""Elements of one patch matrix: 2 MiB of float32, large enough for BLAS and small enough for the cache."""


def rows_at_once(out_width: int, patch: int, rows: int) -> int:
    """Rows of output pixels whose patches make one matrix of about COLUMNS elements."""
    return min(max(1, COLUMNS // (out_width * patch)), rows)


CHUNKS = 16
"""Parts of a batch whose weight gradients are summed apart: as many team members can work at them at once."""


def chunk_images(batch: int) -> int:
    """Images of one chunk; the last may have fewer."""
    return -(-batch // CHUNKS)


def chunks(batch: int) -> int:
    """Chunks of a batch."""
    return -(-batch // chunk_images(batch))


@device
def gather(x, columns, first, stop, out_h, out_w, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    """Fill ``columns`` with the patches of output rows [first, stop), zero where they leave the image."""
    height, width, channels = x.shape[1], x.shape[2], x.shape[3]
    lines = x.reshape(x.shape[0] * height, width * channels)
    run = size_w * channels
    for row in range(first, stop):
        image, top = row // out_h, (row % out_h) * stride_h - pad_top
        for ow in range(out_w):
            left = ow * stride_w - pad_left
            skip = min(max(0, -left) * channels, run)
            end = max(min(run, (width - left) * channels), skip)
            patch = columns[(row - first) * out_w + ow]
            for i in range(size_h):
                at = i * run
                if top + i < 0 or top + i >= height:
                    patch[at : at + run] = 0
                    continue
                line, source = lines[image * height + top + i], left * channels
                for e in range(skip):
                    patch[at + e] = 0
                for e in range(skip, end):
                    patch[at + e] = line[source + e]
                for e in range(end, run):
                    patch[at + e] = 0


@device
def scatter(d_x, columns, first, stop, out_h, out_w, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    """Add the patches of output rows [first, stop) to the image pixels that they were taken from."""
    height, width, channels = d_x.shape[1], d_x.shape[2], d_x.shape[3]
    lines = d_x.reshape(d_x.shape[0] * height, width * channels)
    run = size_w * channels
    for row in range(first, stop):
        image, top = row // out_h, (row % out_h) * stride_h - pad_top
        for ow in range(out_w):
            left = ow * stride_w - pad_left
            skip = min(max(0, -left) * channels, run)
            end = max(min(run, (width - left) * channels), skip)
            patch = columns[(row - first) * out_w + ow]
            for i in range(max(0, -top), min(size_h, height - top)):
                line, source, at = lines[image * height + top + i], left * channels, i * run
                for e in range(skip, end):
                    line[source + e] += patch[at + e]


@device
def gather_group(x, columns, group, first, stop, out_h, out_w, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    """As ``gather``, for the channels of one group, as many as the columns have room for."""
    depth = columns.shape[1] // (size_h * size_w)
    for row in range(first, stop):
        image, top = row // out_h, (row % out_h) * stride_h - pad_top
        for ow in range(out_w):
            left = ow * stride_w - pad_left
            patch = columns[(row - first) * out_w + ow].reshape(size_h, size_w, depth)
            for i in range(size_h):
                for j in range(size_w):
                    inside = 0 <= top + i < x.shape[1] and 0 <= left + j < x.shape[2]
                    for c in range(depth):
                        patch[i, j, c] = x[image, top + i, left + j, group * depth + c] if inside else 0.0


@device
def scatter_group(
    d_x, columns, group, first, stop, out_h, out_w, size_h, size_w, stride_h, stride_w, pad_top, pad_left
):
    """As ``scatter``, for the channels of one group."""
    depth = columns.shape[1] // (size_h * size_w)
    for row in range(first, stop):
        image, top = row // out_h, (row % out_h) * stride_h - pad_top
        for ow in range(out_w):
            left = ow * stride_w - pad_left
            patch = columns[(row - first) * out_w + ow].reshape(size_h, size_w, depth)
            for i in range(max(0, -top), min(size_h, d_x.shape[1] - top)):
                for j in range(max(0, -left), min(size_w, d_x.shape[2] - left)):
                    for c in range(depth):
                        d_x[image, top + i, left + j, group * depth + c] += patch[i, j, c]
