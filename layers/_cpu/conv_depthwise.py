"""Depthwise convolution on CPUs, a filter for each channel (Chollet 2017; Howard et al. 2017): loops over channels.

Products of matrices would have one column for each channel; here neighbouring channels are lanes of a vector.
"""

from netspec.layers._batch_chunks import chunk_images
from netspec.layers._cpu import split_batch
from netspec.layers._window import Window, taps
from netspec.plugin import Variant, Workspace, backward, device, forward


def is_depthwise(layer, t):
    """Whether each filter reads one channel, and each channel has one filter."""
    return t.weight.shape[2] == 1 and t.x.shape[3] == t.y.shape[3] > 1


BLOCK = 65536
"""Elements of y that a call works through, about."""


def _lines(t):
    return max(1, BLOCK // (t.y.shape[2] * t.y.shape[3]))


@device
def convolve_row(n, oh, x, weight, y, sums, window):
    """Add the windows of one row of y to what ``sums``, of a row, holds, and store them."""
    top = oh * window.stride_h - window.pad_top
    above, below = taps(top, window.size_h, window.dilation_h, x.shape[1])
    for ow in range(y.shape[2]):
        left = ow * window.stride_w - window.pad_left
        before, after = taps(left, window.size_w, window.dilation_w, x.shape[2])
        total = sums[ow]
        for i in range(above, below):
            for j in range(before, after):
                pixel, factors = x[n, top + i * window.dilation_h, left + j * window.dilation_w], weight[i, j, 0]
                for c in range(total.size):
                    total[c] += pixel[c] * factors[c]
        y[n, oh, ow] = total


@forward("cpu", over="y", axes=(0, 1), block=_lines, writes="y", when={"bias": True})
def forward_depthwise(start, stop, x, weight, bias, y, sums, window: Window):
    for line in range(start, stop):
        n, oh = line // y.shape[1], line % y.shape[1]
        for ow in range(y.shape[2]):
            sums[ow] = bias
        convolve_row(n, oh, x, weight, y, sums, window)


@forward("cpu", over="y", axes=(0, 1), block=_lines, writes="y", when={"bias": False})
def forward_depthwise_unbiased(start, stop, x, weight, y, sums, window: Window):
    for line in range(start, stop):
        n, oh = line // y.shape[1], line % y.shape[1]
        sums[:] = 0
        convolve_row(n, oh, x, weight, y, sums, window)


@backward("cpu", over="d_x", axes=0, writes="d_x")
def d_x_depthwise(start, stop, weight, dy, d_x, image, window: Window):
    for n in range(start, stop):
        image[:] = 0
        for oh in range(dy.shape[1]):
            top = oh * window.stride_h - window.pad_top
            above, below = taps(top, window.size_h, window.dilation_h, d_x.shape[1])
            for ow in range(dy.shape[2]):
                left = ow * window.stride_w - window.pad_left
                before, after = taps(left, window.size_w, window.dilation_w, d_x.shape[2])
                gradient = dy[n, oh, ow]
                for i in range(above, below):
                    for j in range(before, after):
                        total = image[top + i * window.dilation_h, left + j * window.dilation_w]
                        factors = weight[i, j, 0]
                        for c in range(total.size):
                            total[c] += gradient[c] * factors[c]
        d_x[n] = image


@backward("cpu", over="partials", axes=0, writes="partials")
def d_weight_depthwise(start, stop, x, dy, partials, chunk_images, window: Window):
    for chunk in range(start, stop):
        sums = partials[chunk].reshape(window.size_h, window.size_w, x.shape[3])
        sums[:] = 0
        for n in range(chunk * chunk_images, min((chunk + 1) * chunk_images, x.shape[0])):
            for oh in range(dy.shape[1]):
                top = oh * window.stride_h - window.pad_top
                above, below = taps(top, window.size_h, window.dilation_h, x.shape[1])
                for ow in range(dy.shape[2]):
                    left = ow * window.stride_w - window.pad_left
                    before, after = taps(left, window.size_w, window.dilation_w, x.shape[2])
                    gradient = dy[n, oh, ow]
                    for i in range(above, below):
                        for j in range(before, after):
                            pixel = x[n, top + i * window.dilation_h, left + j * window.dilation_w]
                            total = sums[i, j]
                            for c in range(total.size):
                                total[c] += pixel[c] * gradient[c]


KERNELS = (
    forward_depthwise,
    forward_depthwise_unbiased,
    d_x_depthwise,
    d_weight_depthwise,
    *split_batch.KERNELS,
)


def workspace(layer, t, direction):
    """Sums of a row of y, or of an image of d_x; weight gradients by chunk, bias gradients by image."""
    if direction == "forward":
        return {"sums": Workspace(t.y.shape[2:], per="member")}
    return {"image": Workspace(t.x.shape[1:], per="member"), **split_batch.workspace(t)}


def scalars(layer, t):
    """Images of a chunk."""
    return {"chunk_images": chunk_images(t.x.shape[0])}


VARIANT = Variant("depthwise", kernels=KERNELS, supports=is_depthwise, workspace=workspace, scalars=scalars)
