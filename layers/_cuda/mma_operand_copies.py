"""Global to shared memory for implicit GEMM: which thread copies what, 16 bytes at a time where they are aligned.

Every thread copies units of 16 bytes, neighbouring elements, the same ones of each stage: four float32, or eight
bfloat16. Elements that are not there (beyond an edge, a run's end, the last row) are filled with zeros. Operands lie in
shared memory in one of the two orders of netspec.kernels.warp_tiles: "lines" (K-major: the terms of a row side by side)
or "terms" (the rows of a term). Places there are counted in 4 bytes.

All of this runs beside the products, in the same issue slots: so sums are of 32 bits (``int32`` round each, as the
compiler's own are of 64), what is the same for every stage is found once, and what is the same for all of a thread's
copies, such as whether units are aligned, is decided once a stage.
"""

from netspec.layers._cuda.implicit_gemm import FLOAT4, PAIRS, PARTIAL
from netspec.layers._cuda.mma_block_tile import BLOCK_K, THREADS, line_at, opaque, pair_at, term_at
from netspec.plugin import Lazy, cp_async4, cp_async16, cuda, device, store4

int32, uint32 = Lazy("numpy", "int32"), Lazy("numpy", "uint32")
scaled, paired = (Lazy("netspec.kernels.instructions", name) for name in ("scaled", "paired"))
OUTSIDE = -(1 << 20)
"""A row of pixels that is in no image."""
FLOAT4S = BLOCK_K // 4
"""Units of a row of a stage."""
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
def find_windows(places, rows, apart, first, group, shift, image, positions):
    """For each row of the stage that a thread copies: index, row and place in the row of where the window starts.

    Windows lie ``shift`` pixels further than positions say.
    """
    for number in range(rows // apart):
        position = int32(first + cuda.threadIdx.x // FLOAT4S + apart * number)
        n = divide(position, positions.per_image_factor, positions.per_image_shift)
        rest = int32(position - n * positions.per_image)
        oh = divide(rest, positions.per_row_factor, positions.per_row_shift)
        top = int32(oh * positions.step_h - positions.lead_h + shift[0])
        left = int32((rest - oh * positions.per_row) * positions.step_w - positions.lead_w + shift[1])
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
def rest_of(length, first, unit):
    """Elements of a unit that begins at ``first`` of so many."""
    return min(max(int32(length - first), int32(0)), int32(unit))


@device
def copy_elements(shared, target, source, index, rest, place, step, edge, alignment):
    """Copies the first ``rest`` elements of a float4, of those that are within the row.

    The first one's place there is ``place``, the others are ``step`` further each.
    """
    for e in range(4):
        inside = below(int32(place + step * e), edge) & (e < rest)
        cp_async4(shared, target + e, source, int32(index + e), inside)


@device
def copy_stored(shared, target, source, index, rest, place, step, edge, alignment):
    """The same of eight bfloat16: by twos where pairs are aligned, else through registers."""
    if int32(alignment) == PAIRS:
        for e in range(4):
            count = min(max(int32(rest - 2 * e), int32(0)), int32(2))
            count = count if below(int32(place + 2 * step * e), edge) else int32(0)
            cp_async4(shared, target + e, source, int32(index + 2 * e), count)
    else:
        a, b = pair_of(source, index, rest, place, step, edge, 0), pair_of(source, index, rest, place, step, edge, 2)
        c, d = pair_of(source, index, rest, place, step, edge, 4), pair_of(source, index, rest, place, step, edge, 6)
        store4(shared, target, a, b, c, d)


@device
def pair_of(source, index, rest, place, step, edge, e):
    """Two of them side by side."""
    low = source[int32(index + e)] if below(int32(place + step * e), edge) & (e < rest) else 0.0
    is_there = below(int32(place + step * (e + 1)), edge) & (e + 1 < rest)
    return paired(low, source[int32(index + e + 1)] if is_there else 0.0)


def element_copies(unit):
    """``copy_elements`` for units of so many elements."""
    return copy_elements if unit == 4 else copy_stored


def make_copy_windows(tile, sign):
    """Copies a stage's terms of a tile's windows, in lines. ``sign`` -1: they run towards the image's beginning."""

    apart, rows, unit, cp_async16 = tile.threads // FLOAT4S, tile.rows, tile.unit, tile.copy
    copy_elements = element_copies(unit)

    @device
    def copy_windows(shared, at, stage, source, places, limit_h, limit_w, image, runs):
        height, edge, length = image.height, image.edge, int32(runs.length)
        runs_to_a_row, alignment = int32(runs.per_row), int32(image.alignment)
        chunk = int32(cuda.threadIdx.x % FLOAT4S)
        i, j, first = find_run(int32((stage * FLOAT4S + chunk) * unit), runs)
        rest = rest_of(length, first, unit) if (i < int32(limit_h)) & (j < int32(limit_w)) else int32(0)
        i, j = int32(i * runs.apart_h * sign), int32(j * runs.apart_w * sign)
        distance = int32((i * image.width + j) * image.channels + first)
        across = first if runs_to_a_row == 1 else j
        target = int32(at + line_at(int32(cuda.threadIdx.x // FLOAT4S), chunk))
        if alignment == FLOAT4:
            for number in range(rows // apart):
                there = below(int32(places[3 * number + 1] + i), height) & (rest > 0)
                there = below(int32(places[3 * number + 2] + across), edge) & there
                index = int32(places[3 * number] + distance)
                cp_async16(shared, target + apart * BLOCK_K * number, source, index, there)
        elif alignment == PARTIAL:
            for number in range(rows // apart):
                there = below(int32(places[3 * number + 1] + i), height)
                there = below(int32(places[3 * number + 2] + across), edge) & there
                index, count = int32(places[3 * number] + distance), rest if there else int32(0)
                cp_async16(shared, target + apart * BLOCK_K * number, source, index, count)
        else:
            step = int32(1) if runs_to_a_row == 1 else int32(0)
            for number in range(rows // apart):
                count = rest if below(int32(places[3 * number + 1] + i), height) else int32(0)
                place, index = int32(places[3 * number + 2] + across), int32(places[3 * number] + distance)
                own = target + apart * BLOCK_K * number
                copy_elements(shared, own, source, index, count, place, step, edge, alignment)

    return copy_windows


@device
def find_pixel(position, end, run, image, runs, positions):
    """Where that window's run begins, but for its share of the channels; its place in the row; whether it is there."""
    n = divide(position, positions.per_image_factor, positions.per_image_shift)
    rest = int32(position - n * positions.per_image)
    oh = divide(rest, positions.per_row_factor, positions.per_row_shift)
    h = int32(oh * positions.step_h - positions.lead_h + run[0] * runs.apart_h)
    w = int32((rest - oh * positions.per_row) * positions.step_w - positions.lead_w + run[1] * runs.apart_w)
    inside = below(h, image.height) & (position < end)
    return int32(((n * image.height + h) * image.width + w) * image.channels), int32(w * image.scale), inside


def make_copy_pixels(tile):
    """Copies a stage's pixels' share of a tile's terms of their windows, in terms."""
    rows, unit, place_at = tile.rows, tile.unit, place_in_terms(tile)
    units = rows // unit
    each = tile.terms * units // tile.threads
    copy_elements = element_copies(unit)

    @device
    def copy_pixels(shared, at, pixel, end, source, run, group, image, runs, positions):
        rows_of_window, runs_to_a_row, alignment = int32(runs.rows), int32(runs.per_row), int32(image.alignment)
        chunk, term = int32(cuda.threadIdx.x % units), int32(cuda.threadIdx.x // units * each)
        rest = rest_of(int32(runs.length), run[2], unit) if run[0] < rows_of_window else int32(0)
        own = int32(group * image.depth + run[2])
        across = run[2] if runs_to_a_row == 1 else int32(0)
        if alignment == FLOAT4:
            for number in range(each):
                target = place_at(int32(term + number), chunk, rows)
                index, w, inside = find_pixel(int32(pixel + term + number), end, run, image, runs, positions)
                inside = inside & below(int32(w + across), image.edge) & (rest > 0)
                cp_async16(shared, int32(at + target), source, int32(index + own), inside)
        elif alignment == PARTIAL:
            for number in range(each):
                target = place_at(int32(term + number), chunk, rows)
                index, w, inside = find_pixel(int32(pixel + term + number), end, run, image, runs, positions)
                count = rest if inside & below(int32(w + across), image.edge) else int32(0)
                cp_async16(shared, int32(at + target), source, int32(index + own), count)
        else:
            step = int32(1) if runs_to_a_row == 1 else int32(0)
            for number in range(each):
                target = int32(at + place_at(int32(term + number), chunk, rows))
                index, w, inside = find_pixel(int32(pixel + term + number), end, run, image, runs, positions)
                count, place = rest if inside else int32(0), int32(w + across)
                copy_elements(shared, target, source, int32(index + own), count, place, step, image.edge, alignment)

    return copy_pixels


def place_in_terms(tile):
    """Where a unit of a term lies in shared memory."""
    return term_at if tile.unit == 4 else pair_at


def make_copy_terms(tile):
    """Copies a thread's terms, one below the other in memory: so many are there, and of each ``high`` elements."""
    width, place_at, copy_elements = tile.columns, place_in_terms(tile), element_copies(tile.unit)
    each = tile.terms * (width // tile.unit) // tile.threads

    @device
    def copy_terms(shared, at, chunk, term, source, index, pitch, terms, high, alignment):
        if int32(alignment) == FLOAT4:
            for number in range(each):
                there, target = (number < terms) & (high > 0), int32(at + place_at(int32(term + number), chunk, width))
                cp_async16(shared, target, source, int32(index + pitch * number), there)
        else:
            for number in range(each):
                target, rest = int32(at + place_at(int32(term + number), chunk, width)), int32(high)
                rest, own = rest if number < terms else int32(0), int32(index + pitch * number)
                copy_elements(shared, target, source, own, rest, int32(0), int32(0), int32(1), alignment)

    return copy_terms


def make_copy_weights(tile):
    """Copies a stage's terms of the weights of a tile's filters, in terms."""
    unit, terms_of_stage = tile.unit, tile.terms
    units = tile.columns // unit
    each = terms_of_stage * units // tile.threads
    copy_terms = make_copy_terms(tile)

    @device
    def copy_weights(shared, at, stage, weight, column, group, runs, filters):
        chunk, term = int32(cuda.threadIdx.x % units), int32(cuda.threadIdx.x // units * each)
        f = int32(column + unit * chunk)
        # the run of all its terms: runs are counted in units, of which as many are a thread's terms
        run = divide(int32(stage * terms_of_stage + term), runs.padded_factor, runs.padded_shift)
        place = int32(stage * terms_of_stage + term - run * runs.padded)
        terms = int32(runs.length - place) if run < int32(runs.rows * runs.per_row) else int32(0)
        index = int32((run * runs.length + place) * filters.pitch + group * filters.share + f)
        copy_terms(
            shared, at, chunk, term, weight, index, filters.pitch, terms, int32(filters.share - f), filters.alignment
        )

    return copy_weights


def make_copy_gradients(tile):
    """Copies a stage's pixels of dy, of a tile's filters, in terms."""
    unit = tile.unit
    units = tile.columns // unit
    each = tile.terms * units // tile.threads
    copy_terms = make_copy_terms(tile)

    @device
    def copy_gradients(shared, at, pixel, end, dy, column, group, filters):
        chunk, term = int32(cuda.threadIdx.x % units), int32(cuda.threadIdx.x // units * each)
        f, first = int32(column + unit * chunk), int32(pixel + term)
        index, terms = int32(first * filters.pitch + group * filters.share + f), int32(end - first)
        high = int32(filters.share - f)
        copy_terms(shared, at, chunk, term, dy, index, filters.pitch, terms, high, filters.alignment)

    return copy_gradients


def make_copy_flipped(tile):
    """Copies a stage's terms of the weights that a tile's channels pass on, in lines."""

    apart, columns, unit, copy_elements = tile.threads // FLOAT4S, tile.columns, tile.unit, element_copies(tile.unit)

    @device
    def copy_flipped(shared, at, stage, weight, column, group, taps, classes, runs, filters, depth):
        chunk, line = int32(cuda.threadIdx.x % FLOAT4S), int32(cuda.threadIdx.x // FLOAT4S)
        row, place, first = find_run(int32((stage * FLOAT4S + chunk) * unit), runs)
        i, j = int32(taps[0] + row * classes.step_h), int32(taps[1] + place * classes.step_w)
        c, inside = int32(column + line), (i < int32(classes.size_h)) & (j < int32(classes.size_w))
        rest = rest_of(filters.share, first, unit) if inside else int32(0)
        line_of_weights = (i * classes.size_w + j) * depth + c
        index = int32(line_of_weights * filters.pitch + group * filters.share + first)
        target = int32(at + line_at(line, chunk))
        if int32(filters.alignment) == FLOAT4:
            for number in range(columns // apart):
                there = (int32(c + apart * number) < int32(depth)) & (rest > 0)
                own = int32(index + apart * number * filters.pitch)
                cp_async16(shared, target + apart * BLOCK_K * number, weight, own, there)
        else:
            for number in range(columns // apart):
                count = rest if int32(c + apart * number) < int32(depth) else int32(0)
                own, there = int32(index + apart * number * filters.pitch), target + apart * BLOCK_K * number
                copy_elements(shared, there, weight, own, count, int32(0), int32(0), int32(1), filters.alignment)

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
