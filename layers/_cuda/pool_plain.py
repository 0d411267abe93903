"""Pooling in CUDA, the plain kernels: one thread an element, neighbouring threads neighbouring channels."""

from netspec.layers._window import (
    Counted,
    Window,
    clip_apart,
    covering_columns,
    covering_rows,
    element,
    pixels_counted,
    place_apart,
)
from netspec.plugin import Variant, backward, cuda, device, forward

MAX, AVERAGE = {"mode": "max"}, {"mode": "average"}
THREADS = 256


def _outputs(t):
    return (-(-t.y.size // THREADS),)


def _inputs(t):
    return (-(-t.x.size // THREADS),)


@device
def largest(x, n, oh, ow, c, window):
    """The largest pixel of a window in a channel, or the first NaN, and its place in the window."""
    top, bottom, left, right = clip_apart(window, oh, ow, x)
    best, where = x[n, top, left, c], place_apart(window, top, left, oh, ow)
    for ih in range(top, bottom, window.dilation_h):
        for iw in range(left, right, window.dilation_w):
            value = x[n, ih, iw, c]
            better = (not value <= best) & (best == best)
            where = place_apart(window, ih, iw, oh, ow) if better else where
            best = value if better else best
    return best, where


@forward("cuda", over="y", threads=THREADS, grid=_outputs, writes=("y", "argmax"), when=MAX, phases=("train",))
def max_cuda(x, y, argmax, window: Window):
    n, oh, ow, c = element(cuda.grid(1), y)
    if n < y.shape[0]:
        y[n, oh, ow, c], argmax[n, oh, ow, c] = largest(x, n, oh, ow, c, window)


@forward("cuda", over="y", threads=THREADS, grid=_outputs, writes="y", when=MAX, phases=("eval", "predict"))
def max_only_cuda(x, y, window: Window):
    n, oh, ow, c = element(cuda.grid(1), y)
    if n < y.shape[0]:
        y[n, oh, ow, c], _ = largest(x, n, oh, ow, c, window)


@backward("cuda", over="d_x", threads=THREADS, grid=_inputs, writes="d_x", when=MAX)
def d_max_cuda(dy, argmax, d_x, window: Window):
    n, ih, iw, c = element(cuda.grid(1), d_x)
    if n < d_x.shape[0]:
        (above, below), (before, after) = covering_rows(window, ih, dy), covering_columns(window, iw, dy)
        total = 0.0
        for oh in range(above, below):
            for ow in range(before, after):
                place = place_apart(window, ih, iw, oh, ow)
                if argmax[n, oh, ow, c] == place:
                    total += dy[n, oh, ow, c]
        d_x[n, ih, iw, c] = total


@forward("cuda", over="y", threads=THREADS, grid=_outputs, writes="y", when=AVERAGE)
def average_cuda(x, y, window: Window, counted: Counted):
    n, oh, ow, c = element(cuda.grid(1), y)
    if n < y.shape[0]:
        top, bottom, left, right = clip_apart(window, oh, ow, x)
        total = 0.0
        for ih in range(top, bottom, window.dilation_h):
            for iw in range(left, right, window.dilation_w):
                total += x[n, ih, iw, c]
        y[n, oh, ow, c] = total / x.dtype.type(pixels_counted(window, oh, ow, counted))


@backward("cuda", over="d_x", threads=THREADS, grid=_inputs, writes="d_x", when=AVERAGE)
def d_average_cuda(dy, d_x, window: Window, counted: Counted):
    n, ih, iw, c = element(cuda.grid(1), d_x)
    if n < d_x.shape[0]:
        (above, below), (before, after) = covering_rows(window, ih, dy), covering_columns(window, iw, dy)
        total = 0.0
        for oh in range(above, below):
            for ow in range(before, after):
                if place_apart(window, ih, iw, oh, ow) >= 0:
                    total += dy[n, oh, ow, c] / dy.dtype.type(pixels_counted(window, oh, ow, counted))
        d_x[n, ih, iw, c] = total


PLAIN = Variant("plain", kernels=(max_cuda, max_only_cuda, d_max_cuda, average_cuda, d_average_cuda))
