"""Global to shared memory for implicit GEMM: which thread copies what, 16 bytes at a time where they are aligned.

Every thread copies float4s of neighbouring elements, the same ones of each stage. Elements that are not there (beyond
an edge, a run's end, the last row) are filled with zeros. Operands lie in shared memory in one of the two orders of
netspec.kernels.warp_tiles: "lines" (K-major: the terms of a row side by side) or "terms" (the rows of a term).

All of this runs beside the products, in the same issue slots: so sums are of 32 bits (``int32`` round each, as the
compiler's own are of 64), what is the same for every stage is found once, and what is the same for all of a thread's
copies, such as whether float4s are aligned, is decided once a stage.
"""

from netspec.layers._cuda.implicit_gemm import FLOAT4, SCALAR
from netspec.layers._cuda.mma_block_tile import BLOCK_K, THREADS, line_at, opaque, term_at
from netspec.plugin import Lazy, cp_async4, cp_async16, cuda, device, store4

int32, uint32 = Lazy("numpy", "int32"), Lazy("numpy", "uint32")
scaled = Lazy("netspec.kernels.instructions", "scaled")
OUTSIDE = -(1 << 20)
"""A row of pixels that is in no image."""
FLOAT4S = BLOCK_K // 4
"""Float4s of a row of a stage."""
ROWS_AT_ONCE = THREADS // FLOAT4S
"""Rows that the threads of four warps copy at once."""


@device
def divide(number, factor, shift):
    """The quotient by a divisor, see implicit_gemm.divisor."""
    return scaled(number, factor, shift)


@device
def below(number, limit):
    """Whether 0 <= number < limit, for a limit that is not negative."""
    return uint32(number) < uint32(limit)


@device
def find_windows(places, rows, apart, first, group, image, positions):
    """For each row of the stage that a thread copies: index, row and place in the row of where the window starts."""
    for number in range(rows // apart):
        position = int32(first + cuda.threadIdx.x // FLOAT4S + apart * number)
        n = divide(position, positions.per_image_factor, positions.per_image_shift)
        rest = int32(position - n * positions.per_image)
        oh = divide(rest, positions.per_row_factor, positions.per_row_shift)
        top = int32(oh * positions.step_h - positions.lead_h)
        left = int32((rest - oh * positions.per_row) * positions.step_w - positions.lead_w)
        start = int32(((n * image.height + top) * image.width + left) * image.channels + group * image.depth)
        places[3 * number] = opaque(start)
        places[3 * number + 1] = opaque(top if position < positions.count else int32(OUTSIDE))
        places[3 * number + 2] = opaque(int32(left * image.scale))


@device
def find_run(term, runs):
    """Row and place in it of a term's run, and its number within the run."""
    run = divide(term, runs.padded_factor, runs.padded_shift)
    i = divide(run, runs.per_row_factor, runs.per_row_shift)
    return i, int32(run - i * runs.per_row), int32(term - run * runs.padded)


@device
def rest_of(length, first):
    """Elements of a float4 that begins at ``first`` of so many."""
    return min(max(int32(length - first), int32(0)), int32(4))


def make_copy_windows(rows, sign, cp_async16=cp_async16, threads=THREADS):
    """Copies 16 terms of ``rows`` windows, in lines. ``sign`` -1: the windows run towards the image's beginning."""

    apart = threads // FLOAT4S

    @device
    def copy_windows(shared, at, stage, source, places, limit_h, limit_w, image, runs):
        height, edge, length = image.height, image.edge, int32(runs.length)
        runs_to_a_row, alignment = int32(runs.per_row), int32(image.alignment)
        four = int32(cuda.threadIdx.x % FLOAT4S * 4)
        i, j, first = find_run(int32(stage * BLOCK_K + four), runs)
        rest = rest_of(length, first) if (i < int32(limit_h)) & (j < int32(limit_w)) else int32(0)
        distance, down = int32((i * image.width + j) * image.channels * sign + first), int32(i * sign)
        across = first if runs_to_a_row == 1 else int32(j * sign)
        target = int32(at + line_at(int32(cuda.threadIdx.x // FLOAT4S), int32(cuda.threadIdx.x % FLOAT4S)))
        if alignment == FLOAT4:
            for number in range(rows // apart):
                there = below(int32(places[3 * number + 1] + down), height) & (rest > 0)
                there = below(int32(places[3 * number + 2] + across), edge) & there
                index = int32(places[3 * number] + distance)
                cp_async16(shared, target + apart * BLOCK_K * number, source, index, there)
        elif alignment != SCALAR:
            for number in range(rows // apart):
                there = below(int32(places[3 * number + 1] + down), height)
                there = below(int32(places[3 * number + 2] + across), edge) & there
                index, count = int32(places[3 * number] + distance), rest if there else int32(0)
                cp_async16(shared, target + apart * BLOCK_K * number, source, index, count)
        else:
            step = int32(1) if runs_to_a_row == 1 else int32(0)
            for number in range(rows // apart):
                inside = below(int32(places[3 * number + 1] + down), height)
                for e in range(4):
                    there = below(int32(places[3 * number + 2] + across + step * e), edge) & (e < rest) & inside
                    index = int32(places[3 * number] + distance + e)
                    cp_async4(shared, target + apart * BLOCK_K * number + e, source, index, there)

    return copy_windows


@device
def find_pixel(position, end, across, run, image, positions):
    """Where a run of that window begins, but for its share of the channels, and whether that part of it is there."""
    n = divide(position, positions.per_image_factor, positions.per_image_shift)
    rest = int32(position - n * positions.per_image)
    oh = divide(rest, positions.per_row_factor, positions.per_row_shift)
    h = int32(oh * positions.step_h - positions.lead_h + run[0])
    w = int32((rest - oh * positions.per_row) * positions.step_w - positions.lead_w + run[1])
    inside = below(h, image.height) & below(int32(w * image.scale + across), image.edge) & (position < end)
    return int32(((n * image.height + h) * image.width + w) * image.channels), inside


def make_copy_pixels(rows, threads=THREADS):
    """Copies 16 pixels' share of ``rows`` terms of their windows, in terms."""
    float4s = rows // 4
    each = BLOCK_K * float4s // threads

    @device
    def copy_pixels(shared, at, pixel, end, source, run, group, image, runs, positions):
        rows_of_window, runs_to_a_row, alignment = int32(runs.rows), int32(runs.per_row), int32(image.alignment)
        four, term = int32(cuda.threadIdx.x % float4s), int32(cuda.threadIdx.x // float4s * each)
        rest = rest_of(int32(runs.length), run[2]) if run[0] < rows_of_window else int32(0)
        own = int32(group * image.depth + run[2])
        across = run[2] if runs_to_a_row == 1 else int32(0)
        if alignment == FLOAT4:
            for number in range(each):
                p, target = int32(pixel + term + number), term_at(int32(term + number), four, rows)
                index, inside = find_pixel(p, end, across, run, image, positions)
                cp_async16(shared, int32(at + target), source, int32(index + own), inside & (rest > 0))
        elif alignment != SCALAR:
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
    each = BLOCK_K * (width // 4) // threads

    @device
    def copy_terms(shared, at, four, term, source, index, pitch, terms, high, alignment):
        if int32(alignment) == FLOAT4:
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
    float4s = columns // 4
    each = BLOCK_K * float4s // threads
    copy_terms = make_copy_terms(columns, threads)

    @device
    def copy_weights(shared, at, stage, weight, column, group, runs, filters):
        four, term = int32(cuda.threadIdx.x % float4s), int32(cuda.threadIdx.x // float4s * each)
        f = int32(column + 4 * four)
        # the run of all its terms: runs are counted in float4s
        run = divide(int32(stage * BLOCK_K + term), runs.padded_factor, runs.padded_shift)
        place = int32(stage * BLOCK_K + term - run * runs.padded)
        terms = int32(runs.length - place) if run < int32(runs.rows * runs.per_row) else int32(0)
        index = int32((run * runs.length + place) * filters.pitch + group * filters.share + f)
        copy_terms(
            shared, at, four, term, weight, index, filters.pitch, terms, int32(filters.share - f), filters.alignment
        )

    return copy_weights


def make_copy_gradients(columns, threads=THREADS):
    """Copies 16 pixels of dy, of which ``columns`` filters, in terms."""
    float4s = columns // 4
    each = BLOCK_K * float4s // threads
    copy_terms = make_copy_terms(columns, threads)

    @device
    def copy_gradients(shared, at, pixel, end, dy, column, group, filters):
        four, term = int32(cuda.threadIdx.x % float4s), int32(cuda.threadIdx.x // float4s * each)
        f, first = int32(column + 4 * four), int32(pixel + term)
        index, terms = int32(first * filters.pitch + group * filters.share + f), int32(end - first)
        copy_terms(shared, at, four, term, dy, index, filters.pitch, terms, int32(filters.share - f), filters.alignment)

    return copy_gradients


def make_copy_flipped(columns, threads=THREADS):
    """Copies 16 terms of the weights that ``columns`` channels pass on, in lines."""

    apart = threads // FLOAT4S

    @device
    def copy_flipped(shared, at, stage, weight, column, group, taps, classes, runs, filters, depth):
        four, line = int32(cuda.threadIdx.x % FLOAT4S * 4), int32(cuda.threadIdx.x // FLOAT4S)
        row, place, first = find_run(int32(stage * BLOCK_K + four), runs)
        i, j = int32(taps[0] + row * classes.stride_h), int32(taps[1] + place * classes.stride_w)
        c, inside = int32(column + line), (i < int32(classes.size_h)) & (j < int32(classes.size_w))
        rest = rest_of(filters.share, first) if inside else int32(0)
        line_of_weights = (i * classes.size_w + j) * depth + c
        index = int32(line_of_weights * filters.pitch + group * filters.share + first)
        target = int32(at + line_at(line, int32(cuda.threadIdx.x % FLOAT4S)))
        if int32(filters.alignment) == FLOAT4:
            for number in range(columns // apart):
                there = (int32(c + apart * number) < int32(depth)) & (rest > 0)
                own = int32(index + apart * number * filters.pitch)
                cp_async16(shared, target + apart * BLOCK_K * number, weight, own, there)
        else:
            for number in range(columns // apart):
                inside = int32(c + apart * number) < int32(depth)
                for e in range(4):
                    own = int32(index + apart * number * filters.pitch + e)
                    cp_async4(shared, target + apart * BLOCK_K * number + e, weight, own, inside & (e < rest))

    return copy_flipped


@device
def put_four(target, index, count, alignment, a, b, c, d):
    """Store four elements, of which so many are there: all of them where they are aligned."""
    if int32(alignment) == FLOAT4:
        store4(target, index, a, b, c, d)
    else:
        target[index] = a
        if count > 1:
            target[index + 1] = b
        if count > 2:
            target[index + 2] = c
        if count > 3:
            target[index + 3] = d
