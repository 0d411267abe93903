"""Operands of convolutions on their way to shared memory: who copies what, 16 bytes at a time where they are aligned.

Every thread copies fours of neighbouring elements, the same ones of each slab. Elements that are not there (beyond an
edge, a run's end, the last row) are filled with zeros.

All of this runs beside the products, in the same issue slots: so sums are of 32 bits (``int32`` round each, as the
compiler's own are of 64), what is the same for every slab is found once, and what is the same for all of a thread's
copies, such as whether fours are aligned, is decided once a slab.
"""

from netspec.layers._cuda.mma_block_tile import TERMS, THREADS, line_at, opaque, term_at
from netspec.plugin import Lazy, cp_async4, cp_async16, cuda, device, store4

int32, uint32 = Lazy("numpy", "int32"), Lazy("numpy", "uint32")
scaled = Lazy("netspec.kernels.instructions", "scaled")
OUTSIDE = -(1 << 20)
"""A row of pixels that is in no image."""
FOURS = TERMS // 4
"""Fours of a line of a slab."""
LINES = THREADS // FOURS
"""Lines that the threads of four warps copy at once."""
NARROW, WHOLE = 0, 1
"""Alignment of fours: one element at a time, or 16 bytes all of which are there or none; else the last is cut off."""


@device
def divide(number, factor, shift):
    """The quotient by a divisor, see _mma_shapes.divisor."""
    return scaled(number, factor, shift)


@device
def below(number, limit):
    """Whether 0 <= number < limit, for a limit that is not negative."""
    return uint32(number) < uint32(limit)


@device
def find_windows(places, rows, apart, first, group, image, positions):
    """For each of a thread's lines, so far ``apart``: index, row and place in the row of where the window starts."""
    height, width, channels, depth, scale, _edge, _wide = image
    count, per_image, image_f, image_s, per_row, row_f, row_s, step_h, step_w, lead_h, lead_w = positions
    for number in range(rows // apart):
        position = int32(first + cuda.threadIdx.x // FOURS + apart * number)
        n = divide(position, image_f, image_s)
        rest = int32(position - n * per_image)
        oh = divide(rest, row_f, row_s)
        top, left = int32(oh * step_h - lead_h), int32((rest - oh * per_row) * step_w - lead_w)
        places[3 * number] = opaque(int32(((n * height + top) * width + left) * channels + group * depth))
        places[3 * number + 1] = opaque(top if position < count else int32(OUTSIDE))
        places[3 * number + 2] = opaque(int32(left * scale))


@device
def find_run(term, walk):
    """Row and place in it of a term's run, and its number within the run."""
    _length, padded, padded_f, padded_s, per_row, row_f, row_s, _rows = walk
    run = divide(term, padded_f, padded_s)
    i = divide(run, row_f, row_s)
    return i, int32(run - i * per_row), int32(term - run * padded)


@device
def rest_of(length, first):
    """Elements of a four that begins at ``first`` of so many."""
    return min(max(int32(length - first), int32(0)), int32(4))


def make_copy_windows(rows, sign, cp_async16=cp_async16, threads=THREADS):
    """Copies 16 terms of ``rows`` windows, in lines. ``sign`` -1: the windows run towards the image's beginning."""

    apart = threads // FOURS

    @device
    def copy_windows(shared, at, slab, source, places, limit_h, limit_w, image, walk):
        height, width, channels, _depth, _scale, edge, _wide = image
        length, runs_to_a_row, wide = int32(walk[0]), int32(walk[4]), int32(image[6])
        four = int32(cuda.threadIdx.x % FOURS * 4)
        i, j, first = find_run(int32(slab * TERMS + four), walk)
        rest = rest_of(length, first) if (i < int32(limit_h)) & (j < int32(limit_w)) else int32(0)
        distance, down = int32((i * width + j) * channels * sign + first), int32(i * sign)
        across = first if runs_to_a_row == 1 else int32(j * sign)
        target = int32(at + line_at(int32(cuda.threadIdx.x // FOURS), int32(cuda.threadIdx.x % FOURS)))
        if wide == WHOLE:
            for number in range(rows // apart):
                there = below(int32(places[3 * number + 1] + down), height) & (rest > 0)
                there = below(int32(places[3 * number + 2] + across), edge) & there
                index = int32(places[3 * number] + distance)
                cp_async16(shared, target + apart * TERMS * number, source, index, there)
        elif wide != NARROW:
            for number in range(rows // apart):
                there = below(int32(places[3 * number + 1] + down), height)
                there = below(int32(places[3 * number + 2] + across), edge) & there
                index, count = int32(places[3 * number] + distance), rest if there else int32(0)
                cp_async16(shared, target + apart * TERMS * number, source, index, count)
        else:
            step = int32(1) if runs_to_a_row == 1 else int32(0)
            for number in range(rows // apart):
                inside = below(int32(places[3 * number + 1] + down), height)
                for e in range(4):
                    there = below(int32(places[3 * number + 2] + across + step * e), edge) & (e < rest) & inside
                    index = int32(places[3 * number] + distance + e)
                    cp_async4(shared, target + apart * TERMS * number + e, source, index, there)

    return copy_windows


@device
def find_pixel(position, end, across, run, image, positions):
    """Where a run of that window begins, but for its share of the channels, and whether that part of it is there."""
    height, width, channels, _depth, scale, edge, _wide = image
    _count, per_image, image_f, image_s, per_row, row_f, row_s, step_h, step_w, lead_h, lead_w = positions
    n = divide(position, image_f, image_s)
    rest = int32(position - n * per_image)
    oh = divide(rest, row_f, row_s)
    top = int32(oh * step_h - lead_h + run[0])
    left = int32((rest - oh * per_row) * step_w - lead_w + run[1])
    inside = below(top, height) & below(int32(left * scale + across), edge) & (position < end)
    return int32(((n * height + top) * width + left) * channels), inside


def make_copy_pixels(rows, threads=THREADS):
    """Copies 16 pixels' share of ``rows`` terms of their windows, in terms."""
    fours = rows // 4
    each = TERMS * fours // threads

    @device
    def copy_pixels(shared, at, pixel, end, source, run, group, image, walk, positions):
        length, rows_of_window, runs_to_a_row, wide = int32(walk[0]), int32(walk[7]), int32(walk[4]), int32(image[6])
        four, term = int32(cuda.threadIdx.x % fours), int32(cuda.threadIdx.x // fours * each)
        rest = rest_of(length, run[2]) if run[0] < rows_of_window else int32(0)
        own = int32(group * image[3] + run[2])
        across = run[2] if runs_to_a_row == 1 else int32(0)
        if wide == WHOLE:
            for number in range(each):
                p, target = int32(pixel + term + number), term_at(int32(term + number), four, rows)
                index, inside = find_pixel(p, end, across, run, image, positions)
                cp_async16(shared, int32(at + target), source, int32(index + own), inside & (rest > 0))
        elif wide != NARROW:
            for number in range(each):
                p, target = int32(pixel + term + number), term_at(int32(term + number), four, rows)
                index, inside = find_pixel(p, end, across, run, image, positions)
                cp_async16(shared, int32(at + target), source, int32(index + own), rest if inside else int32(0))
        else:
            step = int32(1) if runs_to_a_row == 1 else int32(0)
            for number in range(each):
                p, target = int32(pixel + term + number), term_at(int32(term + number), four, rows)
                for e in range(4):
                    index, inside = find_pixel(p, end, int32(across + step * e), run, image, positions)
                    cp_async4(shared, int32(at + target + e), source, int32(index + own + e), inside & (e < rest))

    return copy_pixels


def make_copy_terms(width, threads=THREADS):
    """Copies a thread's terms, one below the other in memory: so many are there, and of each ``high`` elements."""
    each = TERMS * (width // 4) // threads

    @device
    def copy_terms(shared, at, four, term, source, index, pitch, terms, high, wide):
        if int32(wide) == WHOLE:
            for number in range(each):
                there, target = (number < terms) & (high > 0), int32(at + term_at(int32(term + number), four, width))
                cp_async16(shared, target, source, int32(index + pitch * number), there)
        else:
            for number in range(each):
                target = int32(at + term_at(int32(term + number), four, width))
                for e in range(4):
                    there = (number < terms) & (e < high)
                    cp_async4(shared, target + e, source, int32(index + pitch * number + e), there)

    return copy_terms


def make_copy_weights(columns, threads=THREADS):
    """Copies 16 terms of the weights of ``columns`` filters, in terms."""
    fours = columns // 4
    each = TERMS * fours // threads
    copy_terms = make_copy_terms(columns, threads)

    @device
    def copy_weights(shared, at, slab, weight, column, group, walk, filters):
        length, padded, padded_f, padded_s, per_row, _row_f, _row_s, rows = walk
        share, pitch, wide = filters
        four, term = int32(cuda.threadIdx.x % fours), int32(cuda.threadIdx.x // fours * each)
        f = int32(column + 4 * four)
        run = divide(int32(slab * TERMS + term), padded_f, padded_s)  # of all its terms: runs are counted in fours
        place = int32(slab * TERMS + term - run * padded)
        terms = int32(length - place) if run < int32(rows * per_row) else int32(0)
        index = int32((run * length + place) * pitch + group * share + f)
        copy_terms(shared, at, four, term, weight, index, pitch, terms, int32(share - f), wide)

    return copy_weights


def make_copy_gradients(columns, threads=THREADS):
    """Copies 16 pixels of dy, of which ``columns`` filters, in terms."""
    fours = columns // 4
    each = TERMS * fours // threads
    copy_terms = make_copy_terms(columns, threads)

    @device
    def copy_gradients(shared, at, pixel, end, dy, column, group, filters):
        share, pitch, wide = filters
        four, term = int32(cuda.threadIdx.x % fours), int32(cuda.threadIdx.x // fours * each)
        f, first = int32(column + 4 * four), int32(pixel + term)
        index, terms = int32(first * pitch + group * share + f), int32(end - first)
        copy_terms(shared, at, four, term, dy, index, pitch, terms, int32(share - f), wide)

    return copy_gradients


def make_copy_flipped(columns, threads=THREADS):
    """Copies 16 terms of the weights that ``columns`` channels pass on, in lines."""

    apart = threads // FOURS

    @device
    def copy_flipped(shared, at, slab, weight, column, group, taps, classes, walk, filters, depth):
        stride_h, stride_w, _, _, size_h, size_w, _, _, _ = classes
        share, pitch, wide = filters
        four, line = int32(cuda.threadIdx.x % FOURS * 4), int32(cuda.threadIdx.x // FOURS)
        row, place, first = find_run(int32(slab * TERMS + four), walk)
        i, j, c = int32(taps[0] + row * stride_h), int32(taps[1] + place * stride_w), int32(column + line)
        rest = rest_of(share, first) if (i < int32(size_h)) & (j < int32(size_w)) else int32(0)
        index = int32(((i * size_w + j) * depth + c) * pitch + group * share + first)
        target = int32(at + line_at(line, int32(cuda.threadIdx.x % FOURS)))
        if int32(wide) == WHOLE:
            for number in range(columns // apart):
                there = (int32(c + apart * number) < int32(depth)) & (rest > 0)
                own = int32(index + apart * number * pitch)
                cp_async16(shared, target + apart * TERMS * number, weight, own, there)
        else:
            for number in range(columns // apart):
                inside = int32(c + apart * number) < int32(depth)
                for e in range(4):
                    own = int32(index + apart * number * pitch + e)
                    cp_async4(shared, target + apart * TERMS * number + e, weight, own, inside & (e < rest))

    return copy_flipped


@device
def put_four(target, index, count, wide, a, b, c, d):
    """Store four elements, of which so many are there: all of them where they are aligned."""
    if int32(wide) == WHOLE:
        store4(target, index, a, b, c, d)
    else:
        target[index] = a
        if count > 1:
            target[index + 1] = b
        if count > 2:
            target[index + 2] = c
        if count > 3:
            target[index + 3] = d
