"""Convolution on CPUs as matrix products of patches and weights (the im2col of cuda-convnet and Caffe).

A block's patches lie in its member's ``columns``; the weight gradient of a fixed chunk of images goes into its own
part of ``partials``, so that neither the team's size nor the order of blocks changes a bit.
"""

from netspec.layers._cpu.im2col import gather, gather_group, rows_at_once, scatter, scatter_group
from netspec.plugin import backward, forward


def _rows(t):
    """Rows of output pixels of one block of the forward pass."""
    patch = t.weight.size // t.weight.shape[3]
    return rows_at_once(t.y.shape[2], patch, t.y.shape[0] * t.y.shape[1])


def _images(t):
    """Images of one block of the pass for d_x, of which each block owns its own."""
    return max(1, _rows(t) // t.y.shape[1])


@forward("cpu", over="y", axes=(0, 1), block=_rows, writes="y", variant="gemm", host=True, when={"bias": True})
def forward_gemm(
    ops, start, stop, x, weight, bias, y, columns, groups, size_h, size_w, stride_h, stride_w, pad_top, pad_left
):
    out_h, out_w, filters = y.shape[1], y.shape[2], y.shape[3] // groups
    shape = (start, stop, out_h, out_w, size_h, size_w, stride_h, stride_w, pad_top, pad_left)
    matrix, lines = columns[: (stop - start) * out_w], y.reshape(-1, y.shape[3])[start * out_w : stop * out_w]
    weights = weight.reshape(-1, y.shape[3])
    for g in range(groups):
        gather(x, matrix, *shape) if groups == 1 else gather_group(x, matrix, g, *shape)
        part = slice(g * filters, (g + 1) * filters)
        ops.gemm(matrix, weights[:, part], lines[:, part])
    ops.add_row(lines, bias)


@forward("cpu", over="y", axes=(0, 1), block=_rows, writes="y", variant="gemm", host=True, when={"bias": False})
def forward_gemm_unbiased(
    ops, start, stop, x, weight, y, columns, groups, size_h, size_w, stride_h, stride_w, pad_top, pad_left
):
    out_h, out_w, filters = y.shape[1], y.shape[2], y.shape[3] // groups
    shape = (start, stop, out_h, out_w, size_h, size_w, stride_h, stride_w, pad_top, pad_left)
    matrix, lines = columns[: (stop - start) * out_w], y.reshape(-1, y.shape[3])[start * out_w : stop * out_w]
    weights = weight.reshape(-1, y.shape[3])
    for g in range(groups):
        gather(x, matrix, *shape) if groups == 1 else gather_group(x, matrix, g, *shape)
        part = slice(g * filters, (g + 1) * filters)
        ops.gemm(matrix, weights[:, part], lines[:, part])


@backward("cpu", over="d_x", axes=0, block=_images, writes="d_x", variant="gemm", host=True)
def d_x_gemm(
    ops, start, stop, weight, dy, d_x, columns, rows, groups,
    size_h, size_w, stride_h, stride_w, pad_top, pad_left,
):  # fmt: skip
    out_h, out_w, filters = dy.shape[1], dy.shape[2], dy.shape[3] // groups
    lines, weights = dy.reshape(-1, dy.shape[3]), weight.reshape(-1, dy.shape[3])
    d_x[start:stop] = 0
    for first in range(start * out_h, stop * out_h, rows):
        last = min(first + rows, stop * out_h)
        shape = (first, last, out_h, out_w, size_h, size_w, stride_h, stride_w, pad_top, pad_left)
        matrix = columns[: (last - first) * out_w]
        for g in range(groups):
            part = slice(g * filters, (g + 1) * filters)
            ops.gemm(lines[first * out_w : last * out_w, part], weights[:, part], matrix, trans_b=True)
            scatter(d_x, matrix, *shape) if groups == 1 else scatter_group(d_x, matrix, g, *shape)


@backward("cpu", over="partials", axes=0, writes="partials", variant="gemm", host=True)
def d_weight_chunk_gemm(
    ops, start, stop, x, dy, partials, columns, product, rows, images, groups,
    size_h, size_w, stride_h, stride_w, pad_top, pad_left,
):  # fmt: skip
    out_h, out_w, filters = dy.shape[1], dy.shape[2], dy.shape[3] // groups
    lines, total = dy.reshape(-1, dy.shape[3]), partials[start].reshape(-1, dy.shape[3])
    begin, end = start * images * out_h, min(stop * images, len(x)) * out_h
    for first in range(begin, end, rows):
        last = min(first + rows, end)
        shape = (first, last, out_h, out_w, size_h, size_w, stride_h, stride_w, pad_top, pad_left)
        matrix = columns[: (last - first) * out_w]
        for g in range(groups):
            part = slice(g * filters, (g + 1) * filters)
            gather(x, matrix, *shape) if groups == 1 else gather_group(x, matrix, g, *shape)
            target = total[:, part] if first == begin else product
            ops.gemm(matrix, lines[first * out_w : last * out_w, part], target, trans_a=True)
            if first > begin:
                total[:, part] += product
