"""Transposed convolution on CPUs as products by BLAS: a convolution's by ``gemm``, each in another's place.

That convolution reads y and gives x; its weights are this layer's with channels and filters exchanged, (KH, KW,
filters / groups, C), which the first pass lays out.
"""

from netspec.layers._batch_chunks import chunk_images
from netspec.layers._cpu import split_batch
from netspec.layers._cpu.conv_gemm import images_workspace
from netspec.layers._cpu.im2col import COLUMNS, col2im, col2im_group, im2col, im2col_group
from netspec.plugin import Variant, Workspace, backward, forward


def _taps(t):
    """Numbers of a patch of y, of one group."""
    return t.weight.size // t.x.shape[3]


def rows_at_once(t) -> int:
    """Rows of pixels of x whose patches of y make one matrix of about COLUMNS elements."""
    return min(max(1, COLUMNS // (t.x.shape[2] * _taps(t))), t.x.shape[0] * t.x.shape[1])


def _images(t):
    return max(1, rows_at_once(t) // t.x.shape[1])


def turned_workspace(t):
    """The weights with channels and filters exchanged."""
    size_h, size_w, depth, filters = t.weight.shape
    return {"turned": Workspace((size_h, size_w, filters * depth // t.x.shape[3], t.x.shape[3]))}


def _workspace(layer, t, direction):
    columns = Workspace((rows_at_once(t) * t.x.shape[2], _taps(t)), per="member")
    shared = {"columns": columns, **turned_workspace(t)}
    if direction == "forward":
        return {**shared, "images": images_workspace(t.y, _images(t))}
    product = Workspace((_taps(t), t.weight.shape[2]), per="member")
    return {**shared, **split_batch.workspace(t), "product": product}


def _scalars(layer, t):
    dense = layer.window(t).dilation == (1, 1) and t.x.shape[3] == t.weight.shape[2]
    return {"rows": rows_at_once(t), "chunk_images": chunk_images(t.x.shape[0]), "in_runs": int(dense)}


def turn_cpu(start, stop, weight, turned, groups):
    size_w, depth, share = weight.shape[1], weight.shape[2], turned.shape[2]
    for tap in range(start, stop):
        i, j = tap // size_w, tap % size_w
        for c in range(depth * groups):
            g = c // depth
            for f in range(share):
                turned[i, j, f, c] = weight[i, j, c - g * depth, g * share + f]


TURN = tuple(mark("cpu", over="turned", axes=(0, 1), writes="turned")(turn_cpu) for mark in (forward, backward))


@forward("cpu", over="y", axes=0, block=_images, writes="y", host=True)
def forward_gemm(ops, start, stop, x, turned, y, columns, images, rows, in_runs, groups, window):
    channels, lines, above = x.shape[3], x.reshape(-1, x.shape[3]), start * x.shape[1]
    sums = y[start:stop] if y.dtype == images.dtype else images[: stop - start]
    sums[:] = 0
    for first in range(start * x.shape[1], stop * x.shape[1], rows):
        last = min(first + rows, stop * x.shape[1])
        pixels, matrix = slice(first * x.shape[2], last * x.shape[2]), columns[: (last - first) * x.shape[2]]
        for g in range(groups):
            part = slice(g * channels // groups, (g + 1) * channels // groups)
            ops.gemm(lines[pixels, part], turned.reshape(-1, channels)[:, part], matrix, trans_b=True)
            if in_runs:
                col2im(sums, matrix, first - above, last - above, window)
            else:
                col2im_group(sums, matrix, g, first - above, last - above, window)
    if y.dtype != images.dtype:
        y[start:stop] = sums


@backward("cpu", over="d_x", axes=(0, 1), block=rows_at_once, writes="d_x", host=True)
def d_x_gemm(ops, start, stop, turned, dy, d_x, columns, in_runs, groups, window):
    channels, width = d_x.shape[3], d_x.shape[2]
    lines, matrix = d_x.reshape(-1, channels)[start * width : stop * width], columns[: (stop - start) * width]
    for g in range(groups):
        part = slice(g * channels // groups, (g + 1) * channels // groups)
        im2col(dy, matrix, start, stop, window) if in_runs else im2col_group(dy, matrix, g, start, stop, window)
        ops.gemm(matrix, turned.reshape(-1, channels)[:, part], lines[:, part])


@backward("cpu", over="partials", axes=0, writes="partials", host=True)
def d_weight_chunk_gemm(
    ops, start, stop, x, dy, partials, columns, product, rows, chunk_images, in_runs, groups, window
):
    channels, lines, total = x.shape[3], x.reshape(-1, x.shape[3]), partials[start].reshape(-1, x.shape[3])
    begin, end = start * chunk_images * x.shape[1], min(stop * chunk_images, len(x)) * x.shape[1]
    for first in range(begin, end, rows):
        last = min(first + rows, end)
        pixels, matrix = slice(first * x.shape[2], last * x.shape[2]), columns[: (last - first) * x.shape[2]]
        for g in range(groups):
            part = slice(g * channels // groups, (g + 1) * channels // groups)
            im2col(dy, matrix, first, last, window) if in_runs else im2col_group(dy, matrix, g, first, last, window)
            ops.gemm(matrix, lines[pixels, part], total[:, part] if first == begin else product, trans_a=True)
            if first > begin:
                total[:, part] += product


@backward("cpu", over="d_weight", axes=(0, 1), writes="d_weight")
def d_weight_turned(start, stop, partials, d_weight, groups):
    size_w, depth, filters = d_weight.shape[1], d_weight.shape[2], d_weight.shape[3]
    share = filters // groups
    found = partials.reshape(partials.shape[0], -1, share, depth * groups)
    for tap in range(start, stop):
        total = d_weight[tap // size_w, tap % size_w]
        total[:] = 0
        for chunk in range(found.shape[0]):
            for c in range(depth):
                for f in range(filters):
                    g = f // share
                    total[c, f] += found[chunk, tap, f - g * share, g * depth + c]


VARIANT = Variant(
    "gemm",
    kernels=(
        TURN[0],
        forward_gemm,
        split_batch.add_bias_cpu,
        TURN[1],
        d_x_gemm,
        d_weight_chunk_gemm,
        d_weight_turned,
        *split_batch.BIAS,
    ),
    workspace=_workspace,
    scalars=_scalars,
)
