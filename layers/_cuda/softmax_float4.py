"""Softmax and cross-entropy in CUDA, the variant ``vector``: a block of several warps a row, 128-bit accesses.

A row is read for its maximum, its sum and the label's rank in one go. The first four scores of each thread stay with it
for the probabilities; further ones come from the cache.
"""

import math

from netspec.layers._cuda.softmax_plain import MIXING, UNMIXED, mix_cuda, smooth_cuda
from netspec.plugin import VALID, Variant, backward, cuda, device, forward, load4, quotient, shuffle_xor, store4

NAN = math.nan
"""What a row is worth whose label is none; of the compute dtype, as other constants are."""
TOP = 5
"""Errors are counted among the first and among the first TOP classes."""
THREADS, WARPS, LANES = 256, 8, 32
LOWEST = -3.4028234663852886e38
"""Where a maximum starts: the lowest number, so that what a thread without elements adds is zero."""


def _rows(t):
    return (t.x.shape[0],)


def _one_block(t):
    return (1,)


@device
def merged(one, two):
    """(maximum, sum of exponentials relative to it, count) of two parts of a row."""
    highest = max(one[0], two[0])
    total = one[1] * math.exp(one[0] - highest) + two[1] * math.exp(two[0] - highest)
    return highest, total, one[2] + two[2]


@device
def is_better(value, bar):
    """1.0 for a score no lower than the label's, or either being NaN."""
    return 0.0 if value < bar else 1.0


@device
def first_scores(x, i):
    """A thread's first four scores of row i; the lowest numbers where there are none."""
    j = 4 * cuda.threadIdx.x
    return load4(x, i * x.shape[1] + j) if j < x.shape[1] else (LOWEST, LOWEST, LOWEST, LOWEST)


@device
def summary_of(scores, bar):
    """Maximum, sum of exponentials relative to it, and how many reach the bar, of four scores."""
    a, b, c, d = scores
    largest = max(max(max(a, b), max(c, d)), LOWEST)  # not minus infinity, from which nothing can be subtracted
    total = math.exp(a - largest) + math.exp(b - largest) + math.exp(c - largest) + math.exp(d - largest)
    return largest, total, is_better(a, bar) + is_better(b, bar) + is_better(c, bar) + is_better(d, bar)


@device
def summary(x, i, scores, bar):
    """A thread's part of row i: maximum, sum, and how many scores reach the bar."""
    part = (LOWEST, 0.0, 0.0)
    if 4 * cuda.threadIdx.x < x.shape[1]:
        part = merged(part, summary_of(scores, bar))
    for j in range(4 * (cuda.threadIdx.x + THREADS), x.shape[1], 4 * THREADS):
        part = merged(part, summary_of(load4(x, i * x.shape[1] + j), bar))
    return part


@device
def of_block(part, scratch):
    """The summary of a whole row from those of all threads, in the same order each time."""
    for step in range(5):
        lanes = LANES // 2 >> step
        part = merged(part, (shuffle_xor(part[0], lanes), shuffle_xor(part[1], lanes), shuffle_xor(part[2], lanes)))
    warp = cuda.threadIdx.x // LANES
    if cuda.threadIdx.x % LANES == 0:
        scratch[warp, 0], scratch[warp, 1], scratch[warp, 2] = part[0], part[1], part[2]
    cuda.syncthreads()
    part = (scratch[0, 0], scratch[0, 1], scratch[0, 2])
    for warp in range(1, WARPS):
        part = merged(part, (scratch[warp, 0], scratch[warp, 1], scratch[warp, 2]))
    return part


@device
def write_four(scores, probs, i, highest, share):
    """Four probabilities."""
    a, b, c, d = scores
    a, b, c, d = math.exp(a - highest), math.exp(b - highest), math.exp(c - highest), math.exp(d - highest)
    store4(probs, i, a * share, b * share, c * share, d * share)


@device
def write_row(x, probs, i, scores, highest, total):
    """The probabilities of row i."""
    share, j = 1.0 / total, 4 * cuda.threadIdx.x
    if j < x.shape[1]:
        write_four(scores, probs, i * x.shape[1] + j, highest, share)
    for k in range(j + 4 * THREADS, x.shape[1], 4 * THREADS):
        write_four(load4(x, i * x.shape[1] + k), probs, i * x.shape[1] + k, highest, share)


@forward("cuda", over="x", grid=_rows, threads=THREADS, writes=("probs", "rows"), phases=("train", "eval"))
def judge_vector_cuda(x, label, probs, rows, counters):
    """One row's probabilities and its terms of the report."""
    scratch = cuda.shared.array((WARPS, 3), x.dtype)
    i = cuda.blockIdx.x
    scores = first_scores(x, i)
    known, valid = 0 <= label[i] < x.shape[1], i < counters[VALID]
    bar = x[i, label[i] if known else 0]
    highest, total, count = of_block(summary(x, i, scores, bar), scratch)
    write_row(x, probs, i, scores, highest, total)
    if cuda.threadIdx.x == 0:
        rank = count - 1.0  # the label's own score reaches the bar too
        loss = math.log(total) + (highest - bar)
        first, fifth = 1.0 if rank >= 1.0 or not known else 0.0, 1.0 if rank >= TOP or not known else 0.0
        rows[i, 0] = (loss if known else NAN) if valid else 0.0
        rows[i, 1] = first if valid else 0.0
        rows[i, 2] = fifth if valid else 0.0
        rows[i, 3] = 1.0 if valid else 0.0


@forward("cuda", over="report", grid=_one_block, writes="report", phases=("train", "eval"), threads=128)
def report_vector_cuda(rows, report):
    """Sums over rows: one warp a sum."""
    r, lane = cuda.threadIdx.x // LANES, cuda.threadIdx.x % LANES
    total = 0.0
    for i in range(lane, rows.shape[0], LANES):
        total += rows[i, r]
    for step in range(5):
        total += shuffle_xor(total, LANES // 2 >> step)
    if lane == 0:
        report[r] = total


@forward("cuda", over="x", grid=_rows, threads=THREADS, writes="probs", phases=("predict",))
def probs_vector_cuda(x, probs):
    """Probabilities alone."""
    scratch = cuda.shared.array((WARPS, 3), x.dtype)
    i = cuda.blockIdx.x
    scores = first_scores(x, i)
    highest, total, _ = of_block(summary(x, i, scores, 0.0), scratch)
    write_row(x, probs, i, scores, highest, total)


@backward("cuda", over="d_x", axes=(0, 1), threads=128, per_thread=4, writes="d_x", when=UNMIXED, phases=("train",))
def backward_vector_cuda(probs, label, d_x, counters, weight, spread, rest):
    """Four neighbours of a row of the gradient a thread."""
    float4s, place = d_x.shape[1] // 4, cuda.grid(1)
    i = quotient(place, float4s)
    if i < d_x.shape[0]:
        at, valid = label[i], counters[VALID]
        known, j = 0 <= at < d_x.shape[1], 4 * (place - i * float4s)
        factor = (weight / probs.dtype.type(valid) if known else NAN) if i < valid else 0.0
        a, b, c, d = load4(probs, 4 * place)
        there = spread + rest
        a, b = a - (there if j == at else spread), b - (there if j + 1 == at else spread)
        c, d = c - (there if j + 2 == at else spread), d - (there if j + 3 == at else spread)
        store4(d_x, 4 * place, factor * a, factor * b, factor * c, factor * d)


VARIANT = Variant(
    "vector",
    kernels=(
        judge_vector_cuda,
        smooth_cuda,
        mix_cuda,
        report_vector_cuda,
        probs_vector_cuda,
        backward_vector_cuda,
        *MIXING,
    ),
    supports=lambda layer, t: t.x.shape[1] % 4 == 0,
)
