"""Products of matrices by wgmma and TMA on bfloat16: a dense layer's y and gradient of x, for a tile's columns.

Rows are those of the batch; weights are read as they lie, (terms, units), for either product. A small batch has few
tiles: the terms are cut into chunks, whose float32 sums other kernels sum in turn, always in the same order.
"""

from typing import NamedTuple

from netspec.layers._cuda.dense_split_k import sums_of
from netspec.layers._cuda.tma_pipeline import (
    BOX,
    ROWS,
    TERMS,
    int32,
    load_2d,
    make_pipeline,
    make_ring,
    make_spread_four,
    right_along_columns,
    right_along_terms,
    row_of,
    uint32,
)
from netspec.plugin import TensorMap, backward_epilogue, cuda, device, finish, load4, put_others, quotient, store4


class Factors(NamedTuple):
    """Sizes of a product."""

    rows: int
    terms: int
    columns: int


def rows_map(name, rows, terms):
    """Of the left operand, x or dy: 64 terms of 128 rows."""
    return TensorMap(name, (terms, rows), (2 * terms,), (TERMS, ROWS))


def weight_map(rows, units, box):
    """Of the weights: a box of so many units and rows."""
    return TensorMap("weight", (units, rows), (2 * units,), box)


@device
def stages_of_chunk(factors, chunks):
    """Stages of a chunk of the terms, but for the last one's."""
    stages = int32((factors.terms + TERMS - 1) // TERMS)
    return int32((stages + chunks - 1) // chunks)


@device
def find_tile(tile, factors, columns):
    """Chunk, first row and first column of a tile, of those with so many columns."""
    across = int32((factors.columns + columns - 1) // columns)
    line = quotient(tile, across)
    down = int32((factors.rows + ROWS - 1) // ROWS)
    chunk = quotient(line, down)
    return chunk, int32((line - chunk * down) * ROWS), int32((tile - line * across) * columns)


@device
def tiles_of(factors, chunks, columns):
    """All tiles of all chunks."""
    down = int32((factors.rows + ROWS - 1) // ROWS)
    return int32(chunks * down * int32((factors.columns + columns - 1) // columns))


def make_stages_of(columns):
    """A device function for the stages of a tile."""

    @device
    def stages_of(tile, state):
        factors, chunks = state[0], state[1]
        stages, most = int32((factors.terms + TERMS - 1) // TERMS), stages_of_chunk(factors, chunks)
        return int32(max(min(stages - find_tile(tile, factors, columns)[0] * most, most), 0))

    return stages_of


def make_produce(ring, load_weights):
    """A device function that fetches a tile's stages.

    ``load_weights(place, map, barrier, term, column)`` fetches a stage's weights.
    """
    (open_stage, next_stage), stage_bytes, left_bytes = make_ring(ring), ring.stage, ring.left_bytes
    columns, stages_of = ring.columns, make_stages_of(ring.columns)

    @device
    def produce(base, at, phase, tile, left_map, right_map, state):
        factors, chunks = state[0], state[1]
        chunk, row, column = find_tile(tile, factors, columns)
        term = int32(chunk * stages_of_chunk(factors, chunks) * TERMS)
        for _ in range(stages_of(tile, state)):
            barrier, place = open_stage(base, at, phase), uint32(base + at * stage_bytes)
            load_2d(place, left_map, barrier, term, row)
            load_weights(uint32(place + left_bytes), right_map, barrier, term, column)
            term = int32(term + TERMS)
            at, phase = next_stage(at, phase)
        return at, phase

    return produce


def make_product(ring, load_weights, ready, put_others):
    """A device function ``product(left_map, right_map, factors, chunks, result, other)``.

    ``ready(index, column, a, b, c, d, other)`` makes of four neighbouring sums of all chunks what is stored: the first
    four values, and by ``put_others(index, values, other)`` what there is beyond.
    """
    columns = ring.columns

    @device
    def of_row(column, a, b, c, d, state):
        line, _, _, other = state
        return ready(line + column, column, a, b, c, d, other)

    @device
    def store(column, values, state):
        line, inside, result, other = state
        if inside:
            store4(result, line + column, values[0], values[1], values[2], values[3])
            put_others(line + column, values, other)

    spread = make_spread_four(columns, of_row, store)

    @device
    def put(sums, tile, half, state):
        factors, _, result, other = state
        chunk, row, column = find_tile(tile, factors, columns)
        row = int32(row + row_of(half))
        line = (chunk * factors.rows + min(row, factors.rows - 1)) * factors.columns
        spread(sums, column, factors.columns, (line, row < factors.rows, result, other))

    produce, stages_of = make_produce(ring, load_weights), make_stages_of(columns)
    pipeline = make_pipeline(ring, produce, stages_of, put)

    @device
    def product(left_map, right_map, factors, chunks, result, other):
        pipeline(left_map, right_map, tiles_of(factors, chunks, columns), (factors, int32(chunks), result, other))

    return product


def make_load_columns(columns):
    """A device function that fetches 64 terms of weights that lie along the columns."""
    boxes = (columns + BOX - 1) // BOX

    @device
    def load_columns(place, weight_map, barrier, term, column):
        for box in range(boxes):
            load_2d(uint32(place + box * (2 * BOX * TERMS)), weight_map, barrier, int32(column + box * BOX), term)

    return load_columns


@device
def with_bias(index, column, a, b, c, d, other):
    """y = finish(product + bias)."""
    p, q, r, s = load4(other[0], column)
    return finish(a + p, b + q, c + r, d + s, index, int32(4), True, other[1])


@device
def without_bias(index, column, a, b, c, d, other):
    """y = finish(product)."""
    return finish(a, b, c, d, index, int32(4), True, other[1])


@device
def put_operands(index, values, other):
    """What ``finish`` gives beyond y."""
    put_others(values, index, int32(4), True, other[1])


@device
def put_nothing(index, values, other):
    """There is nothing."""


@device
def as_they_are(index, column, a, b, c, d, other):
    """A chunk's sums."""
    return a, b, c, d


@device
def as_gradients(index, column, a, b, c, d, residual):
    """d_x, through ``backward_epilogue``."""
    return backward_epilogue(a, b, c, d, residual, index, int32(4), True)


def make_forward(columns):
    """Kernels of y for a batch of many rows, with a bias and without, and of chunks' sums."""
    ring, load = right_along_columns(columns), make_load_columns(columns)
    biased, plain = (make_product(ring, load, ready, put_operands) for ready in (with_bias, without_bias))
    partly = make_product(ring, load, as_they_are, put_nothing)

    def forward(x_map, weight_map, x, weight, bias, y, factors: Factors, *operands):
        biased(x_map, weight_map, factors, 1, y, (bias, operands))

    def forward_unbiased(x_map, weight_map, x, weight, y, factors: Factors, *operands):
        plain(x_map, weight_map, factors, 1, y, (y, operands))

    def forward_chunks(x_map, weight_map, x, weight, products, factors: Factors):
        chunks = quotient(products.size, factors.rows * factors.columns)
        partly(x_map, weight_map, factors, chunks, products, products)

    return forward, forward_unbiased, forward_chunks


def make_d_x(columns):
    """Kernels of the gradient of x, and of chunks' sums of it."""
    ring = right_along_terms(columns)
    whole, partly = (make_product(ring, load_2d, ready, put_nothing) for ready in (as_gradients, as_they_are))

    def d_x(dy_map, weight_map, weight, dy, d_x, residual, back_factors: Factors):
        whole(dy_map, weight_map, back_factors, 1, d_x, residual)

    def d_x_chunks(dy_map, weight_map, weight, dy, back_products, back_factors: Factors):
        chunks = quotient(back_products.size, back_factors.rows * back_factors.columns)
        partly(dy_map, weight_map, back_factors, chunks, back_products, back_products)

    return d_x, d_x_chunks


def d_x_sum(back_products, d_x, residual):
    """Sum the chunks' gradients."""
    i = 4 * cuda.grid(1)
    if i < d_x.size:
        a, b, c, d = sums_of(back_products, i, d_x.size)
        a, b, c, d = backward_epilogue(a, b, c, d, residual, i, 4, True)
        store4(d_x, i, a, b, c, d)
