"""Operands of convolutions on their way to shared memory: who copies what, 16 bytes at a time where they are aligned.

Every thread copies fours of neighbouring elements, the same ones of each slab. Elements that are not there (beyond an
edge, a run's end, the last row) are filled with zeros.
"""

from netspec.layers._mma_tile import TERMS, THREADS, swizzled
from netspec.plugin import Lazy, cp_async4, cp_async16, cuda, device, store4

int32, int64 = Lazy("numpy", "int32"), Lazy("numpy", "int64")
OUTSIDE = -(1 << 20)
"""A row of pixels that is in no image."""
FOURS = TERMS // 4
"""Fours of a line of a slab."""
LINES = THREADS // FOURS
"""Lines that all threads copy at once."""


@device
def divide(number, factor, shift):
    """The quotient by a divisor, see _mma_shapes.divisor."""
    return int64(number) * factor >> shift


@device
def copy_four(shared, at, source, index, first, low, high, wide):
    """Elements ``first`` to ``first + 3`` of a run, of which [low, high) are there; ``index`` is the first one's."""
    if wide:
        count = min(max(high - first, 0), 4) if first >= low else 0
        cp_async16(shared, at, source, index, count)
    else:
        for e in range(4):
            cp_async4(shared, at + e, source, index + e, 1 if low <= first + e and first + e < high else 0)


@device
def find_windows(places, rows, first, group, image, positions):
    """For each line of this thread: index, row and column of the pixel where the window starts."""
    height, width, channels, depth, _unit, _span, _wide = image
    count, per_image, image_f, image_s, per_row, row_f, row_s, step_h, step_w, lead_h, lead_w = positions
    for number in range(rows // LINES):
        position = first + cuda.threadIdx.x // FOURS + LINES * number
        n = divide(position, image_f, image_s)
        oh = divide(position - n * per_image, row_f, row_s)
        top, left = oh * step_h - lead_h, (position - n * per_image - oh * per_row) * step_w - lead_w
        places[3 * number] = ((n * height + top) * width + left) * channels + group * depth
        places[3 * number + 1] = top if position < count else OUTSIDE
        places[3 * number + 2] = left


@device
def find_run(term, walk):
    """Row and place in it of a term's run, and its number within the run."""
    _length, padded, padded_f, padded_s, per_row, row_f, row_s, _rows = walk
    run = divide(term, padded_f, padded_s)
    i = divide(run, row_f, row_s)
    return i, run - i * per_row, term - run * padded


def make_copy_windows(rows, sign):
    """Copies 16 terms of ``rows`` windows, in lines. ``sign`` -1: the windows run towards the image's beginning."""

    @device
    def copy_windows(shared, at, slab, source, places, limit_h, limit_w, image, walk):
        height, width, channels, _depth, unit, span, wide = image
        four = cuda.threadIdx.x % FOURS * 4
        i, j, first = find_run(slab * TERMS + four, walk)
        inside = i < limit_h and j < limit_w
        distance = (i * width + j) * channels * sign + first
        for number in range(rows // LINES):
            line = cuda.threadIdx.x // FOURS + LINES * number
            top, left = places[3 * number + 1] + sign * i, places[3 * number + 2] + sign * j
            low = max(-left, 0) * unit
            high = min(span, width - left) * unit if inside and top >= 0 and top < height else 0
            index = places[3 * number] + distance
            copy_four(shared, at + line * TERMS + four, source, index, first, low, high, wide)

    return copy_windows


def make_copy_pixels(rows):
    """Copies 16 pixels' share of ``rows`` terms of their windows, in terms."""
    fours = rows // 4
    at_once = THREADS // fours

    @device
    def copy_pixels(shared, at, pixel, end, source, run, group, image, walk, positions):
        height, width, channels, depth, unit, span, wide = image
        _length, rows_of_window = walk[0], walk[7]
        _count, per_image, image_f, image_s, per_row, row_f, row_s, step_h, step_w, lead_h, lead_w = positions
        i, j, first = run
        four = cuda.threadIdx.x % fours
        for number in range(TERMS // at_once):
            term = cuda.threadIdx.x // fours + at_once * number
            n = divide(pixel + term, image_f, image_s)
            rest = pixel + term - n * per_image
            oh = divide(rest, row_f, row_s)
            top, left = oh * step_h - lead_h + i, (rest - oh * per_row) * step_w - lead_w + j
            low = max(-left, 0) * unit
            inside = pixel + term < end and i < rows_of_window and top >= 0 and top < height
            high = min(span, width - left) * unit if inside else 0
            index = ((n * height + top) * width + left) * channels + group * depth + first
            copy_four(shared, at + swizzled(term, four, rows), source, index, first, low, high, wide)

    return copy_pixels


def make_copy_weights(columns):
    """Copies 16 terms of the weights of ``columns`` filters, in terms."""
    fours = columns // 4
    at_once = THREADS // fours

    @device
    def copy_weights(shared, at, slab, weight, column, group, walk, filters):
        length, padded, padded_f, padded_s, per_row, _row_f, _row_s, rows = walk
        share, pitch, wide = filters
        four = cuda.threadIdx.x % fours
        f = column + 4 * four
        for number in range(TERMS // at_once):
            term = cuda.threadIdx.x // fours + at_once * number
            run = divide(slab * TERMS + term, padded_f, padded_s)
            place = slab * TERMS + term - run * padded
            high = share if place < length and run < rows * per_row else 0
            index = (run * length + place) * pitch + group * share + f
            copy_four(shared, at + swizzled(term, four, columns), weight, index, f, 0, high, wide)

    return copy_weights


def make_copy_gradients(columns):
    """Copies 16 pixels of dy, of which ``columns`` filters, in terms."""
    fours = columns // 4
    at_once = THREADS // fours

    @device
    def copy_gradients(shared, at, pixel, end, dy, column, group, filters):
        share, pitch, wide = filters
        four = cuda.threadIdx.x % fours
        f = column + 4 * four
        for number in range(TERMS // at_once):
            term = cuda.threadIdx.x // fours + at_once * number
            high = share if pixel + term < end else 0
            index = (pixel + term) * pitch + group * share + f
            copy_four(shared, at + swizzled(term, four, columns), dy, index, f, 0, high, wide)

    return copy_gradients


def make_copy_flipped(columns):
    """Copies 16 terms of the weights that ``columns`` channels pass on, in lines; see netspec.kernels.warp_tiles."""

    @device
    def copy_flipped(shared, at, slab, weight, column, group, taps, classes, walk, filters, depth):
        stride_h, stride_w, _, _, size_h, size_w, _, _, _ = classes
        share, pitch, wide = filters
        four = cuda.threadIdx.x % FOURS * 4
        row, place, first = find_run(slab * TERMS + four, walk)
        i, j = taps[0] + row * stride_h, taps[1] + place * stride_w
        for number in range(columns // LINES):
            line = cuda.threadIdx.x // FOURS + LINES * number
            c = column + line
            high = share if i < size_h and j < size_w and c < depth else 0
            index = ((i * size_w + j) * depth + c) * pitch + group * share + first
            target = line // 32 * 32 + line % 4 * 8 + line % 32 // 4
            copy_four(shared, at + target * TERMS + four, weight, index, first, 0, high, wide)

    return copy_flipped


@device
def put_four(target, index, count, wide, a, b, c, d):
    """Store four elements, of which so many are there."""
    if wide and count >= 4:
        store4(target, index, a, b, c, d)
    else:
        if count > 0:
            target[index] = a
        if count > 1:
            target[index + 1] = b
        if count > 2:
            target[index + 2] = c
        if count > 3:
            target[index + 3] = d
