"""Convolution on CPUs as products of im2col's patches and the weights by BLAS (cuda-convnet and Caffe).

A block's patches lie in its member's ``columns``; the weight gradient of a fixed chunk of images goes into its own part
of ``partials``, so that neither the team's size nor the order of blocks changes a bit. Host kernels take ``window`` as
a plain tuple: numba is slow at unpacking a named one that comes from Python.
"""

from netspec.layers._batch_chunks import chunk_images
from netspec.layers._cpu import split_batch
from netspec.layers._cpu.im2col import col2im, col2im_group, im2col, im2col_group, rows_at_once
from netspec.plugin import Variant, Workspace, backward, forward


def _images(t):
    """Images of one block of the pass for d_x, of which each block owns its own."""
    return max(1, rows_at_once(t) // t.y.shape[1])


def columns_workspace(t):
    """The patch matrix of a block."""
    return {"columns": Workspace((rows_at_once(t) * t.y.shape[2], t.weight.size // t.y.shape[3]), per="member")}


def d_x_workspace(t):
    """With it the sums of a block's images, which are float32 where d_x is not."""
    return {**columns_workspace(t), "images": images_workspace(t.x, _images(t))}


def images_workspace(tensor, count):
    """Room for so many images of a tensor that is stored as bfloat16."""
    return Workspace((count, *tensor.shape[1:]) if tensor.dtype == "bfloat16" else (1,), per="member")


def _workspace(layer, t, direction):
    if direction == "forward":
        return columns_workspace(t)
    filters, groups = t.y.shape[3], t.x.shape[3] // t.weight.shape[2]
    product = Workspace((t.weight.size // filters, filters // groups), per="member")
    return {**d_x_workspace(t), **split_batch.workspace(t), "product": product}


def _scalars(layer, t):
    dense = layer.window(t).dilation == (1, 1) and t.x.shape[3] == t.weight.shape[2]
    return {"rows": rows_at_once(t), "chunk_images": chunk_images(t.x.shape[0]), "in_runs": int(dense)}


@forward("cpu", over="y", axes=(0, 1), block=rows_at_once, writes="y", host=True, when={"bias": True})
def forward_gemm(ops, start, stop, x, weight, bias, y, columns, in_runs, groups, window):
    lines = y.reshape(-1, y.shape[3])[start * y.shape[2] : stop * y.shape[2]]
    for g in range(groups):
        matrix, part = columns[: len(lines)], slice(g * bias.size // groups, (g + 1) * bias.size // groups)
        im2col(x, matrix, start, stop, window) if in_runs else im2col_group(x, matrix, g, start, stop, window)
        ops.gemm(matrix, weight.reshape(-1, bias.size)[:, part], lines[:, part])
    ops.add_row(lines, bias)


@forward("cpu", over="y", axes=(0, 1), block=rows_at_once, writes="y", host=True, when={"bias": False})
def forward_gemm_unbiased(ops, start, stop, x, weight, y, columns, in_runs, groups, window):
    filters, lines = y.shape[3], y.reshape(-1, y.shape[3])[start * y.shape[2] : stop * y.shape[2]]
    for g in range(groups):
        matrix, part = columns[: len(lines)], slice(g * filters // groups, (g + 1) * filters // groups)
        im2col(x, matrix, start, stop, window) if in_runs else im2col_group(x, matrix, g, start, stop, window)
        ops.gemm(matrix, weight.reshape(-1, filters)[:, part], lines[:, part])


@backward("cpu", over="d_x", axes=0, block=_images, writes="d_x", host=True)
def d_x_gemm(ops, start, stop, weight, dy, d_x, columns, images, rows, in_runs, groups, window):
    filters, lines, above = dy.shape[3], dy.reshape(-1, dy.shape[3]), start * dy.shape[1]
    sums = d_x[start:stop] if d_x.dtype == images.dtype else images[: stop - start]
    sums[:] = 0
    for first in range(start * dy.shape[1], stop * dy.shape[1], rows):
        last = min(first + rows, stop * dy.shape[1])
        pixels, matrix = slice(first * dy.shape[2], last * dy.shape[2]), columns[: (last - first) * dy.shape[2]]
        for g in range(groups):
            part = slice(g * filters // groups, (g + 1) * filters // groups)
            ops.gemm(lines[pixels, part], weight.reshape(-1, filters)[:, part], matrix, trans_b=True)
            if in_runs:
                col2im(sums, matrix, first - above, last - above, window)
            else:
                col2im_group(sums, matrix, g, first - above, last - above, window)
    if d_x.dtype != images.dtype:
        d_x[start:stop] = sums


@backward("cpu", over="partials", axes=0, writes="partials", host=True)
def d_weight_chunk_gemm(
    ops, start, stop, x, dy, partials, columns, product, rows, chunk_images, in_runs, groups, window
):
    filters, lines, total = dy.shape[3], dy.reshape(-1, dy.shape[3]), partials[start].reshape(-1, dy.shape[3])
    begin, end = start * chunk_images * dy.shape[1], min(stop * chunk_images, len(x)) * dy.shape[1]
    for first in range(begin, end, rows):
        last = min(first + rows, end)
        pixels, matrix = slice(first * dy.shape[2], last * dy.shape[2]), columns[: (last - first) * dy.shape[2]]
        for g in range(groups):
            part = slice(g * filters // groups, (g + 1) * filters // groups)
            im2col(x, matrix, first, last, window) if in_runs else im2col_group(x, matrix, g, first, last, window)
            ops.gemm(matrix, lines[pixels, part], total[:, part] if first == begin else product, trans_a=True)
            if first > begin:
                total[:, part] += product


VARIANT = Variant(
    "gemm",
    kernels=(forward_gemm, forward_gemm_unbiased, d_x_gemm, d_weight_chunk_gemm, *split_batch.KERNELS),
    workspace=_workspace,
    scalars=_scalars,
)
