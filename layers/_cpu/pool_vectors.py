"""Pooling on CPUs, the variant ``vectors``: windows pixel by pixel, the maxima or sums of channels in registers."""

from netspec.layers._cpu.pool_rows import MAX, input_rows, output_rows
from netspec.layers._window import Counted, Window, clip, covering_columns, covering_rows, pixels_counted, place_in
from netspec.plugin import Lazy, Variant, Workspace, backward, device, forward

_WINDOWS = "netspec.layers._cpu.pool_windows"
take_largest, take_largest_alone = Lazy(_WINDOWS, "take_largest"), Lazy(_WINDOWS, "take_largest_alone")
gather_gradients, gather_shares = Lazy(_WINDOWS, "gather_gradients"), Lazy(_WINDOWS, "gather_shares")
take_average = Lazy(_WINDOWS, "take_average")

AVERAGE = {"mode": "average"}

CHANNELS = 16
"""Of which images must have multiples: two vectors of 8 floats, or one of 16."""


@device
def window_terms(x, y, row, ow, window):
    """Window ``ow`` of a row of windows as take_largest has it: its first pixel, its size, and its place in itself."""
    n, oh, depth = row // y.shape[1], row % y.shape[1], x.shape[3]
    top, bottom, left, right = clip(window, oh, ow, x)
    at, to = ((n * x.shape[1] + top) * x.shape[2] + left) * depth, (row * y.shape[2] + ow) * depth
    place = place_in(window, top, left, oh, ow)
    return at, to, depth, bottom - top, right - left, x.shape[2] * depth, place, window.size_w


@forward("cpu", over="y", axes=(0, 1), block=output_rows, writes=("y", "argmax"),
         when=MAX, phases=("train",))  # fmt: skip
def max_vectors(start, stop, x, y, argmax, window: Window):
    pixels, maxima, places = x.reshape(x.size), y.reshape(y.size), argmax.reshape(y.size)
    for row in range(start, stop):
        for ow in range(y.shape[2]):
            take_largest(pixels, maxima, places, window_terms(x, y, row, ow, window))


@forward("cpu", over="y", axes=(0, 1), block=output_rows, writes="y",
         when=MAX, phases=("eval", "predict"))  # fmt: skip
def max_only_vectors(start, stop, x, y, window: Window):
    pixels, maxima = x.reshape(x.size), y.reshape(y.size)
    for row in range(start, stop):
        for ow in range(y.shape[2]):
            take_largest_alone(pixels, maxima, window_terms(x, y, row, ow, window))


@backward("cpu", over="d_x", axes=(0, 1), block=input_rows, writes="d_x", when=MAX)
def d_max_vectors(start, stop, dy, argmax, d_x, window: Window):
    gradients, places, totals = dy.reshape(dy.size), argmax.reshape(dy.size), d_x.reshape(d_x.size)
    depth, line, down = dy.shape[3], dy.shape[2] * dy.shape[3], window.stride_h * window.size_w
    for row in range(start, stop):
        n, ih = row // d_x.shape[1], row % d_x.shape[1]
        above, below = covering_rows(window, ih, dy)
        for iw in range(d_x.shape[2]):
            before, after = covering_columns(window, iw, dy)
            to = (row * d_x.shape[2] + iw) * depth
            if above >= below or before >= after:
                totals[to : to + depth] = 0
                continue
            at, place = (n * dy.shape[1] + above) * line + before * depth, place_in(window, ih, iw, above, before)
            terms = (at, to, depth, below - above, after - before, line, place, down, window.stride_w)
            gather_gradients(gradients, places, totals, terms)


@forward("cpu", over="y", axes=(0, 1), block=output_rows, writes="y", when=AVERAGE)
def average_vectors(start, stop, x, y, window: Window, counted: Counted):
    pixels, means = x.reshape(x.size), y.reshape(y.size)
    for row in range(start, stop):
        for ow in range(y.shape[2]):
            count = pixels_counted(window, row % y.shape[1], ow, counted)
            take_average(pixels, means, (*window_terms(x, y, row, ow, window)[:7], count))


@backward("cpu", over="shares", writes="shares", when=AVERAGE)
def share_of_each(start, stop, shares, window: Window, counted: Counted):
    for place in range(start, stop):
        count = pixels_counted(window, place // window.out_w, place % window.out_w, counted)
        shares[place] = shares.dtype.type(1) / count


@backward("cpu", over="d_x", axes=(0, 1), block=input_rows, writes="d_x", when=AVERAGE)
def d_average_vectors(start, stop, dy, shares, d_x, window: Window):
    gradients, totals = dy.reshape(dy.size), d_x.reshape(d_x.size)
    depth, line = dy.shape[3], dy.shape[2] * dy.shape[3]
    for row in range(start, stop):
        n, ih = row // d_x.shape[1], row % d_x.shape[1]
        above, below = covering_rows(window, ih, dy)
        for iw in range(d_x.shape[2]):
            before, after = covering_columns(window, iw, dy)
            to = (row * d_x.shape[2] + iw) * depth
            if above >= below or before >= after:
                totals[to : to + depth] = 0
                continue
            at, place = (n * dy.shape[1] + above) * line + before * depth, above * dy.shape[2] + before
            terms = (at, to, depth, below - above, after - before, line, place, dy.shape[2])
            gather_shares(gradients, shares, totals, terms)


def _supports(layer, t):
    usual = layer.window(t).dilation == (1, 1)
    return usual and t.x.dtype == "float32" and t.x.shape[3] % CHANNELS == 0


def _workspace(layer, t, direction):
    """A window's share of its pixels' number."""
    shared = layer.attrs.mode == "average" and direction == "backward"
    return {"shares": Workspace((t.y.shape[1] * t.y.shape[2],))} if shared else {}


VARIANT = Variant(
    "vectors",
    kernels=(max_vectors, max_only_vectors, d_max_vectors, average_vectors, share_of_each, d_average_vectors),
    supports=_supports,
    workspace=_workspace,
)
