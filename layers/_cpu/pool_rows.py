"""Maximum pooling on CPUs, the variant ``rows``: a window's row of pixels in one vector loop over channels.

The plain kernels load and store the running maximum once a pixel; here three pixels side by side, the common width of a
window, are compared in registers. Positions are rows of pixels, so that a team shares out even a single image.
Of bfloat16, which would be rounded between rows of pixels, the variant ``stored_rows`` compares rows beside the result.
"""

from netspec.layers._window import Window, clip, covering_columns, covering_rows, place_in
from netspec.plugin import Variant, Workspace, backward, device, forward

MAX = {"mode": "max"}
FEW = 8
"""Images from which on a block is one image; of fewer, images are cut into quarters."""


def rows_of(image):
    """Rows of one block."""
    return image.shape[1] if image.shape[0] >= FEW else -(-image.shape[1] // 4)


def output_rows(t):
    return rows_of(t.y)


def input_rows(t):
    return rows_of(t.x)


@device
def greater(value, old):
    """Whether a value takes the place of the maximum so far: the first of equal ones stays, and so does NaN."""
    return (value > old) | ((value != value) & (old == old))


@device
def larger(old, at, value, here):
    """The larger of two values, and where it is."""
    better = greater(value, old)
    return value if better else old, here if better else at


@device
def first_pixel(pixel, best, where, place):
    """Begin with one pixel."""
    here = where.dtype.type(place)
    for c in range(best.size):
        best[c], where[c] = pixel[c], here


@device
def one_pixel(pixel, best, where, place):
    """Compare one pixel."""
    here = where.dtype.type(place)
    for c in range(best.size):
        best[c], where[c] = larger(best[c], where[c], pixel[c], here)


@device
def first_three(pixels, best, where, place):
    """Begin with three pixels side by side."""
    n, one, two, three = best.size, where.dtype.type(place), where.dtype.type(place + 1), where.dtype.type(place + 2)
    left, middle, right = pixels[:n], pixels[n : 2 * n], pixels[2 * n : 3 * n]
    for c in range(n):
        old, at = larger(left[c], one, middle[c], two)
        best[c], where[c] = larger(old, at, right[c], three)


@device
def three_pixels(pixels, best, where, place):
    """Compare three pixels side by side."""
    n, one, two, three = best.size, where.dtype.type(place), where.dtype.type(place + 1), where.dtype.type(place + 2)
    left, middle, right = pixels[:n], pixels[n : 2 * n], pixels[2 * n : 3 * n]
    for c in range(n):
        old, at = larger(best[c], where[c], left[c], one)
        old, at = larger(old, at, middle[c], two)
        best[c], where[c] = larger(old, at, right[c], three)


@device
def maximum_of_three(pixels, best, begin):
    """Compare three pixels side by side, where nobody asks which one it was."""
    n = best.size
    left, middle, right = pixels[:n], pixels[n : 2 * n], pixels[2 * n : 3 * n]
    if begin:
        for c in range(n):
            old, two, three = left[c], middle[c], right[c]
            old = two if greater(two, old) else old
            best[c] = three if greater(three, old) else old
    else:
        for c in range(n):
            one, two, three, old = left[c], middle[c], right[c], best[c]
            old = one if greater(one, old) else old
            old = two if greater(two, old) else old
            best[c] = three if greater(three, old) else old


@device
def maximum(pixels, count, best, begin):
    """Compare ``count`` pixels side by side, where nobody asks which one it was."""
    n = best.size
    for i in range(count):
        pixel = pixels[i * n : (i + 1) * n]
        if begin and i == 0:
            best[:] = pixel
            continue
        for c in range(n):
            value, old = pixel[c], best[c]
            best[c] = value if greater(value, old) else old


@device
def maxima_of_row(n, oh, x, maxima, places, window):
    """The largest pixels of the windows of row ``oh`` of image n, side by side, and where they are."""
    depth, pixels = x.shape[3], x.reshape(x.size)
    for ow in range(maxima.size // depth):
        top, bottom, left, right = clip(window, oh, ow, x)
        best, where = maxima[ow * depth : (ow + 1) * depth], places[ow * depth : (ow + 1) * depth]
        for ih in range(top, bottom):
            place = place_in(window, ih, left, oh, ow)
            line = pixels[((n * x.shape[1] + ih) * x.shape[2] + left) * depth :]
            if right - left == 3:
                if ih == top:
                    first_three(line, best, where, place)
                else:
                    three_pixels(line, best, where, place)
                continue
            for i in range(right - left):
                if ih == top and i == 0:
                    first_pixel(line, best, where, place)
                else:
                    one_pixel(line[i * depth :], best, where, place + i)


@forward("cpu", over="y", axes=(0, 1), block=output_rows, writes=("y", "argmax"),
         when=MAX, phases=("train",))  # fmt: skip
def max_rows(start, stop, x, y, argmax, window: Window):
    maxima, places, size = y.reshape(y.size), argmax.reshape(y.size), y.shape[2] * y.shape[3]
    for row in range(start, stop):
        n, oh, first, end = row // y.shape[1], row % y.shape[1], row * size, (row + 1) * size
        maxima_of_row(n, oh, x, maxima[first:end], places[first:end], window)


@forward("cpu", over="y", axes=(0, 1), block=output_rows, writes=("y", "argmax"),
         when=MAX, phases=("train",))  # fmt: skip
def max_stored(start, stop, x, y, argmax, best, where, window: Window):
    maxima, places = y.reshape(y.size), argmax.reshape(y.size)
    for row in range(start, stop):
        maxima_of_row(row // y.shape[1], row % y.shape[1], x, best, where, window)
        values, here = maxima[row * best.size :], places[row * best.size :]
        for i in range(best.size):
            values[i], here[i] = best[i], where[i]


@forward("cpu", over="y", axes=(0, 1), block=output_rows, writes="y",
         when=MAX, phases=("eval", "predict"))  # fmt: skip
def max_only_rows(start, stop, x, y, window: Window):
    depth, pixels, maxima = y.shape[3], x.reshape(x.size), y.reshape(y.size)
    for row in range(start, stop):
        n, oh = row // y.shape[1], row % y.shape[1]
        for ow in range(y.shape[2]):
            top, bottom, left, right = clip(window, oh, ow, x)
            at = (row * y.shape[2] + ow) * depth
            for ih in range(top, bottom):
                line = pixels[((n * x.shape[1] + ih) * x.shape[2] + left) * depth :]
                if right - left == 3:
                    maximum_of_three(line, maxima[at : at + depth], ih == top)
                else:
                    maximum(line, right - left, maxima[at : at + depth], ih == top)


@device
def give(total, gradient, where, place, begin):
    """The gradient of one window, for the pixel at ``place`` in it."""
    here, zero = where.dtype.type(place), gradient.dtype.type(0)
    if begin:
        for c in range(total.size):
            value = gradient[c]
            total[c] = value if where[c] == here else zero
    else:
        for c in range(total.size):
            value = gradient[c]
            total[c] += value if where[c] == here else zero


@device
def give_two(total, gradients, places, apart, left, right, begin):
    """The gradients of two windows ``apart`` elements apart, for the pixel at ``left`` and ``right`` in them."""
    n, zero, here, there = total.size, gradients.dtype.type(0), places.dtype.type(left), places.dtype.type(right)
    one, two, at_one, at_two = gradients[:n], gradients[apart:][:n], places[:n], places[apart:][:n]
    if begin:
        for c in range(n):
            a, b = one[c], two[c]
            total[c] = (a if at_one[c] == here else zero) + (b if at_two[c] == there else zero)
    else:
        for c in range(n):
            a, b = one[c], two[c]
            total[c] = total[c] + (a if at_one[c] == here else zero) + (b if at_two[c] == there else zero)


@backward("cpu", over="d_x", axes=(0, 1), block=input_rows, writes="d_x", when=MAX)
def d_max_rows(start, stop, dy, argmax, d_x, window: Window):
    depth, gradients, places, totals = dy.shape[3], dy.reshape(dy.size), argmax.reshape(dy.size), d_x.reshape(d_x.size)
    for row in range(start, stop):
        n, ih = row // d_x.shape[1], row % d_x.shape[1]
        above, below = covering_rows(window, ih, dy)
        for iw in range(d_x.shape[2]):
            before, after = covering_columns(window, iw, dy)
            at, count = (row * d_x.shape[2] + iw) * depth, after - before
            total = totals[at : at + depth]
            if above >= below or count <= 0:
                total[:] = 0
            if count == 1 and below - above == 2:
                first, line = ((n * dy.shape[1] + above) * dy.shape[2] + before) * depth, dy.shape[2] * depth
                place = place_in(window, ih, iw, above, before)
                below_it = place - window.stride_h * window.size_w
                give_two(total, gradients[first:], places[first:], line, place, below_it, True)
                continue
            for oh in range(above, below):
                first = ((n * dy.shape[1] + oh) * dy.shape[2] + before) * depth
                place = place_in(window, ih, iw, oh, before)
                if count == 2:
                    beside = place - window.stride_w
                    give_two(total, gradients[first:], places[first:], depth, place, beside, oh == above)
                    continue
                for i in range(count):
                    one, where = gradients[first + i * depth :], places[first + i * depth :]
                    give(total, one, where, place - i * window.stride_w, oh == above and i == 0)


def _supports(layer, t):
    return layer.attrs.mode == "max" and layer.window(t).dilation == (1, 1)


def _stored_workspace(layer, t, direction):
    """A row's maxima and where they are, of the widths in which they are compared."""
    if direction == "backward":
        return {}
    size = (t.y.shape[2] * t.y.shape[3],)
    return {"best": Workspace(size, per="member"), "where": Workspace(size, "int32", "member")}


STORED = Variant(
    "stored_rows",
    kernels=(max_stored, max_only_rows, d_max_rows),
    supports=lambda layer, t: t.x.dtype == "bfloat16" and _supports(layer, t),
    workspace=_stored_workspace,
)
VARIANT = Variant("rows", kernels=(max_rows, max_only_rows, d_max_rows), supports=_supports)
