"""Maximum pooling on CPUs, the passes of the variant ``rows``: whole windows' rows in one vector loop over channels.

The plain kernels load and store the running maximum once a pixel; here three pixels side by side, the common width of a
window, are compared in registers. Positions are rows of pixels, so that a team shares out even a single image.
"""

from netspec.layers._window import clip, covering
from netspec.plugin import backward, device, forward

FEW = 8
"""Images from which on a block is one image; of fewer, images are cut into quarters."""


def rows_of(image):
    """Rows of one block."""
    return image.shape[1] if image.shape[0] >= FEW else -(-image.shape[1] // 4)


def _output_rows(t):
    return rows_of(t.y)


def _input_rows(t):
    return rows_of(t.x)


@device
def greater(value, old):
    """Whether a value takes the place of the maximum so far: the first of equal ones stays, and so does NaN."""
    return (value > old) | ((value != value) & (old == old))


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
        value, old, at = pixel[c], best[c], where[c]
        better = greater(value, old)
        best[c], where[c] = value if better else old, here if better else at


@device
def first_three(pixels, best, where, place):
    """Begin with three pixels side by side."""
    n, here, next_, last = best.size, where.dtype.type(place), where.dtype.type(place + 1), where.dtype.type(place + 2)
    left, middle, right = pixels[:n], pixels[n : 2 * n], pixels[2 * n : 3 * n]
    for c in range(n):
        old, two, three = left[c], middle[c], right[c]
        better = greater(two, old)
        old, at = two if better else old, next_ if better else here
        better = greater(three, old)
        best[c], where[c] = three if better else old, last if better else at


@device
def three_pixels(pixels, best, where, place):
    """Compare three pixels side by side."""
    n, here, next_, last = best.size, where.dtype.type(place), where.dtype.type(place + 1), where.dtype.type(place + 2)
    left, middle, right = pixels[:n], pixels[n : 2 * n], pixels[2 * n : 3 * n]
    for c in range(n):
        one, two, three, old, at = left[c], middle[c], right[c], best[c], where[c]
        better = greater(one, old)
        old, at = one if better else old, here if better else at
        better = greater(two, old)
        old, at = two if better else old, next_ if better else at
        better = greater(three, old)
        best[c], where[c] = three if better else old, last if better else at


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


@forward("cpu", over="y", axes=(0, 1), block=_output_rows, writes=("y", "argmax"), variant="rows",
         when={"mode": "max"}, phases=("train",))  # fmt: skip
def max_rows(start, stop, x, y, argmax, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    depth, pixels, maxima, places = y.shape[3], x.reshape(x.size), y.reshape(y.size), argmax.reshape(y.size)
    for row in range(start, stop):
        n, oh = row // y.shape[1], row % y.shape[1]
        top, bottom = clip(oh, stride_h, pad_top, size_h, x.shape[1])
        for ow in range(y.shape[2]):
            left, right = clip(ow, stride_w, pad_left, size_w, x.shape[2])
            origin, at = (oh * stride_h - pad_top) * size_w + ow * stride_w - pad_left, (row * y.shape[2] + ow) * depth
            best, where = maxima[at : at + depth], places[at : at + depth]
            for ih in range(top, bottom):
                place, line = ih * size_w + left - origin, pixels[((n * x.shape[1] + ih) * x.shape[2] + left) * depth :]
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


@forward("cpu", over="y", axes=(0, 1), block=_output_rows, writes="y", variant="rows",
         when={"mode": "max"}, phases=("eval", "predict"))  # fmt: skip
def max_only_rows(start, stop, x, y, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    depth, pixels, maxima = y.shape[3], x.reshape(x.size), y.reshape(y.size)
    for row in range(start, stop):
        n, oh = row // y.shape[1], row % y.shape[1]
        top, bottom = clip(oh, stride_h, pad_top, size_h, x.shape[1])
        for ow in range(y.shape[2]):
            left, right = clip(ow, stride_w, pad_left, size_w, x.shape[2])
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


@backward("cpu", over="d_x", axes=(0, 1), block=_input_rows, writes="d_x", variant="rows", when={"mode": "max"})
def d_max_rows(start, stop, dy, argmax, d_x, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    depth, gradients, places, totals = dy.shape[3], dy.reshape(dy.size), argmax.reshape(dy.size), d_x.reshape(d_x.size)
    for row in range(start, stop):
        n, ih = row // d_x.shape[1], row % d_x.shape[1]
        above, below = covering(ih, stride_h, pad_top, size_h, dy.shape[1])
        for iw in range(d_x.shape[2]):
            before, after = covering(iw, stride_w, pad_left, size_w, dy.shape[2])
            at, count = (row * d_x.shape[2] + iw) * depth, after - before
            total = totals[at : at + depth]
            if above >= below or count <= 0:
                total[:] = 0
            if count == 1 and below - above == 2:
                first, line = ((n * dy.shape[1] + above) * dy.shape[2] + before) * depth, dy.shape[2] * depth
                place = (ih - above * stride_h + pad_top) * size_w + iw - before * stride_w + pad_left
                give_two(total, gradients[first:], places[first:], line, place, place - stride_h * size_w, True)
                continue
            for oh in range(above, below):
                first = ((n * dy.shape[1] + oh) * dy.shape[2] + before) * depth
                place = (ih - oh * stride_h + pad_top) * size_w + iw - before * stride_w + pad_left
                if count == 2:
                    give_two(total, gradients[first:], places[first:], depth, place, place - stride_w, oh == above)
                    continue
                for i in range(count):
                    one, where = gradients[first + i * depth :], places[first + i * depth :]
                    give(total, one, where, place - i * stride_w, oh == above and i == 0)
