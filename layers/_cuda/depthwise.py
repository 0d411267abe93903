"""Depthwise convolution in CUDA: one thread an element, neighbouring threads neighbouring channels."""

from netspec.layers._batch_chunks import chunks
from netspec.layers._cpu.conv_depthwise import is_depthwise
from netspec.layers._cuda import column_sums
from netspec.layers._cuda.conv_tiled import gradient_or_zero
from netspec.layers._window import Window, element, taps
from netspec.plugin import Variant, Workspace, backward, cuda, device, epilogue, forward

THREADS, LANES = 256, 32
"""Threads of a block; channels that one sums weight gradients of, side by side in memory."""
ROWS = THREADS // LANES


def _outputs(t):
    return (-(-t.y.size // THREADS),)


def _inputs(t):
    return (-(-t.x.size // THREADS),)


def _sums(t):
    return -(-t.x.shape[3] // LANES), t.weight.shape[0] * t.weight.shape[1], chunks(t.x.shape[0])


@device
def product_sum(start, x, weight, n, oh, ow, c, window):
    """A number plus the window's pixels of a channel, each times its weight."""
    top, left = oh * window.stride_h - window.pad_top, ow * window.stride_w - window.pad_left
    above, below = taps(top, window.size_h, window.dilation_h, x.shape[1])
    before, after = taps(left, window.size_w, window.dilation_w, x.shape[2])
    total = start
    for i in range(above, below):
        for j in range(before, after):
            total += x[n, top + i * window.dilation_h, left + j * window.dilation_w, c] * weight[i, j, 0, c]
    return total


@forward("cuda", over="y", threads=THREADS, grid=_outputs, writes="y", when={"bias": True})
def forward_depthwise_cuda(x, weight, bias, y, window: Window):
    n, oh, ow, c = element(cuda.grid(1), y)
    if n < y.shape[0]:
        y[n, oh, ow, c] = epilogue(product_sum(bias[c], x, weight, n, oh, ow, c, window))


@forward("cuda", over="y", threads=THREADS, grid=_outputs, writes="y", when={"bias": False})
def forward_depthwise_unbiased_cuda(x, weight, y, window: Window):
    n, oh, ow, c = element(cuda.grid(1), y)
    if n < y.shape[0]:
        y[n, oh, ow, c] = epilogue(product_sum(0.0, x, weight, n, oh, ow, c, window))


@backward("cuda", over="d_x", threads=THREADS, grid=_inputs, writes="d_x")
def d_x_depthwise_cuda(weight, dy, d_x, window: Window):
    n, ih, iw, c = element(cuda.grid(1), d_x)
    if n < d_x.shape[0]:
        h, w, total = ih + window.pad_top, iw + window.pad_left, 0.0
        for i in range(window.size_h):
            for j in range(window.size_w):
                gradient = gradient_or_zero(dy, n, h - i * window.dilation_h, w - j * window.dilation_w, window, c)
                total += gradient * weight[i, j, 0, c]
        d_x[n, ih, iw, c] = total


@backward("cuda", over="partials", threads=THREADS, grid=_sums, writes="partials")
def d_weight_depthwise_cuda(x, dy, partials, chunk_images, window: Window):
    shared, thread = cuda.shared.array(THREADS, x.dtype), cuda.threadIdx.x
    lane, own, tap, chunk = thread % LANES, thread // LANES, cuda.blockIdx.y, cuda.blockIdx.z
    c, image, total = cuda.blockIdx.x * LANES + lane, dy.shape[1] * dy.shape[2], 0.0
    i, j = tap // window.size_w * window.dilation_h, tap % window.size_w * window.dilation_w
    last = min((chunk + 1) * chunk_images, x.shape[0])
    if c < x.shape[3]:
        for pixel in range(chunk * chunk_images * image + own, last * image, ROWS):
            n, oh, ow = pixel // image, pixel // dy.shape[2] % dy.shape[1], pixel % dy.shape[2]
            ih, iw = oh * window.stride_h - window.pad_top + i, ow * window.stride_w - window.pad_left + j
            if 0 <= ih < x.shape[1] and 0 <= iw < x.shape[2]:
                total += x[n, ih, iw, c] * dy[n, oh, ow, c]
    shared[thread] = total
    cuda.syncthreads()
    if own == 0 and c < x.shape[3]:
        for other in range(1, ROWS):
            total += shared[other * LANES + lane]
        partials[chunk, tap * x.shape[3] + c] = total


def _workspace(layer, t, direction):
    if direction == "forward":
        return {}
    return {"partials": Workspace((chunks(t.x.shape[0]), t.weight.size)), **column_sums.workspace(t)}


VARIANT = Variant(
    "depthwise",
    kernels=(
        forward_depthwise_cuda,
        forward_depthwise_unbiased_cuda,
        d_x_depthwise_cuda,
        d_weight_depthwise_cuda,
        *column_sums.KERNELS,
    ),
    supports=is_depthwise,
    workspace=_workspace,
    scalars=column_sums.scalars,
)
