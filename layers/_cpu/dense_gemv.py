"""Dense layers of a few rows on CPUs: the weights stream through the cores once, row after row, at memory speed.

Products of so few rows are bound by reading the weights. They lie units after units, so whole rows of them, a few at a
time, are scaled and added to sums that stay in the first-level cache. Each block of rows adds up sums of its own, cut
by shapes alone: any team gives the same bits.
"""

from netspec.layers._cpu import dense_gemm
from netspec.layers._dense_sizes import Sizes
from netspec.plugin import Variant, Workspace, device, forward

MOST_IMAGES = 8
"""The largest batch for which this is faster than a matrix product."""
ROWS, STRIP, UNITS = 256, 1024, 256
"""Weight rows of one block; units whose sums are worked on at once; units of one block when blocks are added up."""
AT_ONCE = 8
"""Weight rows read side by side: each with those behind it is one long run, in which a core fetches ahead."""


def _workspace(layer, t, direction):
    """Sums of each block of weight rows."""
    if direction == "backward":
        return {}
    rows = t.weight.size // t.weight.shape[-1]
    return {"partials": Workspace((-(-rows // ROWS), *t.y.shape))}


def _supports(layer, t):
    return t.x.shape[0] <= MOST_IMAGES and dense_gemm.supports(layer, t)


def _row_block(t):
    """Weights of one block: whole rows."""
    return ROWS * t.y.shape[1]


@device
def add_eight(total, weights, at, line, x, apart):
    """total += the sum of x[i * apart] times weight row i, for eight rows ``line`` elements apart from ``at`` on."""
    n = total.size
    w0, w1 = weights[at:][:n], weights[at + line :][:n]
    w2, w3 = weights[at + 2 * line :][:n], weights[at + 3 * line :][:n]
    w4, w5 = weights[at + 4 * line :][:n], weights[at + 5 * line :][:n]
    w6, w7 = weights[at + 6 * line :][:n], weights[at + 7 * line :][:n]
    a0, a1, a2, a3 = x[0], x[apart], x[2 * apart], x[3 * apart]
    a4, a5, a6, a7 = x[4 * apart], x[5 * apart], x[6 * apart], x[7 * apart]
    for i in range(n):
        first = a0 * w0[i] + a1 * w1[i] + a2 * w2[i] + a3 * w3[i]
        total[i] += first + (a4 * w4[i] + a5 * w5[i] + a6 * w6[i] + a7 * w7[i])


@device
def add_four_to_two(one, two, weights, at, line, x, y, apart):
    """Four weight rows for two images, which read them together: one += x weights, two += y weights."""
    n = one.size
    w0, w1 = weights[at:][:n], weights[at + line :][:n]
    w2, w3 = weights[at + 2 * line :][:n], weights[at + 3 * line :][:n]
    a0, a1, a2, a3 = x[0], x[apart], x[2 * apart], x[3 * apart]
    b0, b1, b2, b3 = y[0], y[apart], y[2 * apart], y[3 * apart]
    for i in range(n):
        one[i] += a0 * w0[i] + a1 * w1[i] + a2 * w2[i] + a3 * w3[i]
        two[i] += b0 * w0[i] + b1 * w1[i] + b2 * w2[i] + b3 * w3[i]


@device
def add_row(total, weights, at, value):
    """total += value times one weight row."""
    row = weights[at:][: total.size]
    for i in range(total.size):
        total[i] += value * row[i]


@device
def add_rows(sums, inputs, weights, at, line, k, apart, left, right):
    """AT_ONCE weight rows for all images: units [left, right), of which the weights begin at element ``at``."""
    batch = inputs.shape[0]
    for n in range(0, batch - 1, 2):
        one, two, x, y = sums[n, left:right], sums[n + 1, left:right], inputs[n, k:], inputs[n + 1, k:]
        add_four_to_two(one, two, weights, at, line, x, y, apart)
        add_four_to_two(one, two, weights, at + 4 * line, line, x[4 * apart :], y[4 * apart :], apart)
    if batch % 2:
        add_eight(sums[batch - 1, left:right], weights, at, line, inputs[batch - 1, k:], apart)


@forward("cpu", over="weight", block=_row_block, writes="partials")
def forward_gemv(start, stop, x, weight, partials, sizes: Sizes):
    batch, units, groups = sizes.batch, sizes.units, sizes.groups
    inputs, first, last = x.reshape(batch, x.size // batch), start // units, stop // units
    depth, share, sums = weight.size // units, units // groups, partials[start // (ROWS * units)]
    sums[:] = 0.0
    apart = (last - first) // AT_ONCE
    for k in range(first, first + apart):
        for g in range(groups):
            for left in range(g * share, (g + 1) * share, STRIP):
                right = min(left + STRIP, (g + 1) * share)
                add_rows(sums, inputs, weight, k * units + left, apart * units, g * depth + k, apart, left, right)
    for k in range(first + apart * AT_ONCE, last):
        for g in range(groups):
            for n in range(batch):
                total = sums[n, g * share : (g + 1) * share]
                add_row(total, weight, k * units + g * share, inputs[n, g * depth + k])


@forward("cpu", over="y", axes=1, block=UNITS, writes=("partials", "y"))
def sum_gemv(start, stop, partials, y):
    for n in range(y.shape[0]):
        total = partials[0, n, start:stop]
        for block in range(1, partials.shape[0]):
            total += partials[block, n, start:stop]
        y[n, start:stop] = total


VARIANT = Variant(
    "gemv",
    kernels=(forward_gemv, sum_gemv, dense_gemm.d_x_gemm, dense_gemm.d_weight_gemm, *dense_gemm.BIAS),
    supports=_supports,
    workspace=_workspace,
)
