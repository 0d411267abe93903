"""Costs of numbers in CUDA: some lanes of a block share a row, four neighbouring elements each, 16 bytes an access."""

from typing import NamedTuple

from netspec.plugin import (
    VALID,
    Lazy,
    backward,
    cuda,
    device,
    forward,
    lanes_of,
    load4,
    quotient,
    store4,
    sum_of_row,
)

opaque = Lazy("netspec.kernels.instructions", "opaque")
THREADS, WARPS = 256, 8
TRAINED = ("train", "eval")


class Sharing(NamedTuple):
    """Threads that share a row, and rows of a block."""

    lanes: int
    at_once: int


def sharing_of(t):
    """For predictions x."""
    lanes = lanes_of(t.x.shape[1], 2)
    return Sharing(lanes, THREADS // lanes)


def _rows(t):
    return (-(-t.x.shape[0] // sharing_of(t).at_once),)


def make_judge(terms, store):
    """The kernel of the predictions and of the report's rows.

    ``terms(x, target, delta)`` gives a prediction and its three terms, ``store(rows, i, sums, counted, width)`` a row.
    """

    @device
    def four_terms(scores, goals, prediction, place, inside, delta):
        (a, b, c, d), (e, f, g, h) = scores, goals
        (p, p0, p1, p2), (q, q0, q1, q2) = terms(a, e, delta), terms(b, f, delta)
        (r, r0, r1, r2), (s, s0, s1, s2) = terms(c, g, delta), terms(d, h, delta)
        if inside:
            store4(prediction, place, p, q, r, s)
        sums = (p0 + q0) + (r0 + s0), (p1 + q1) + (r1 + s1), (p2 + q2) + (r2 + s2)
        return sums if inside else (0.0, 0.0, 0.0)

    @device
    def eight_terms(x, target, prediction, place, other, inside, delta):
        """Of two vectors, the second if it is inside: all four are loaded before the first is asked for."""
        scores, goals = load4(x, place), load4(target, place)
        more, further = load4(x, other), load4(target, other)
        a, b, c = four_terms(scores, goals, prediction, place, True, delta)
        d, e, f = four_terms(more, further, prediction, other, inside, delta)
        return a + d, b + e, c + f

    @forward("cuda", over="x", grid=_rows, threads=THREADS, writes=("prediction", "rows"), phases=TRAINED)
    def judge_cuda(x, target, prediction, rows, counters, delta, sharing: Sharing):
        shared, own = cuda.shared.array(WARPS, x.dtype), quotient(cuda.threadIdx.x, sharing.lanes)
        lane, i = cuda.threadIdx.x - own * sharing.lanes, cuda.blockIdx.x * sharing.at_once + own
        width = x.shape[1] if i < x.shape[0] else 0
        losses, seconds, thirds = 0.0, 0.0, 0.0
        if x.shape[1] % 4 == 0:
            j, apart = 4 * lane, 4 * sharing.lanes
            while j < width:
                inside = j + apart < width
                place, other = i * width + j, i * width + (j + apart if inside else j)
                a, b, c = eight_terms(x, target, prediction, place, other, inside, delta)
                losses, seconds, thirds = losses + a, seconds + b, thirds + c
                j += opaque(2 * apart)  # not unrolled, for the registers
        else:
            for j in range(lane, width, sharing.lanes):
                prediction[i, j], a, b, c = terms(x[i, j], target[i, j], delta)
                losses, seconds, thirds = losses + a, seconds + b, thirds + c
        losses, seconds = sum_of_row(losses, sharing.lanes, shared), sum_of_row(seconds, sharing.lanes, shared)
        thirds = sum_of_row(thirds, sharing.lanes, shared)
        if lane == 0 and width > 0:
            store(rows, i, (losses, seconds, thirds), i < counters[VALID], width)

    return judge_cuda


@forward("cuda", over="report", grid=lambda t: (t.report.size,), threads=THREADS, writes="report", phases=TRAINED)
def report_cuda(rows, report):
    """Sums over rows: a block a sum."""
    shared, total = cuda.shared.array(WARPS, rows.dtype), 0.0
    for i in range(cuda.threadIdx.x, rows.shape[0], THREADS):
        total += rows[i, cuda.blockIdx.x]
    total = sum_of_row(total, THREADS, shared)
    if cuda.threadIdx.x == 0:
        report[cuda.blockIdx.x] = total


def make_gradient(slope):
    """A device function that fills four places of a gradient: the mean is over valid rows and their elements."""

    @device
    def element(x, target, inside, factor, delta):
        return factor * slope(x, target, delta) if inside else 0.0

    @device
    def fill_four(x, target, out, valid, weight, delta):
        place, width = 4 * cuda.grid(1), x.shape[1]
        factor = weight / x.dtype.type(valid * width)
        if width % 4 == 0:
            i = quotient(place, width)
            if i < x.shape[0]:
                a, b, c, d = load4(x, place)
                e, f, g, h = load4(target, place)
                a, b = element(a, e, i < valid, factor, delta), element(b, f, i < valid, factor, delta)
                c, d = element(c, g, i < valid, factor, delta), element(d, h, i < valid, factor, delta)
                store4(out, place, a, b, c, d)
        else:
            for k in range(place, min(place + 4, x.size)):
                i = quotient(k, width)
                j = k - i * width
                out[i, j] = element(x[i, j], target[i, j], i < valid, factor, delta)

    return fill_four


def make_gradients(d_loss, d_target):
    """The kernels of both gradients, of the functions that give the derivatives of an element's loss."""
    fill_d_x, fill_d_target = make_gradient(d_loss), make_gradient(d_target)
    options = {"over": "x", "axes": (0, 1), "threads": THREADS, "per_thread": 4, "phases": "train"}

    @backward("cuda", writes="d_x", **options)
    def d_x_cuda(x, target, d_x, counters, weight, delta):
        fill_d_x(x, target, d_x, counters[VALID], weight, delta)

    @backward("cuda", writes="d_target", **options)
    def d_target_cuda(x, target, d_target, counters, weight, delta):
        fill_d_target(x, target, d_target, counters[VALID], weight, delta)

    return d_x_cuda, d_target_cuda
