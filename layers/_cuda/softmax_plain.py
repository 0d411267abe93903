"""Softmax and cross-entropy in CUDA, the plain kernels: a warp a row, a tree of sums in shared memory."""

import math

from netspec.plugin import VALID, Variant, backward, cuda, device, forward

THREADS = 32
NAN = math.nan
"""What a row is worth whose label is none; of the compute dtype, as other constants are."""
TOP = 5
"""Errors are counted among the first and among the first TOP classes."""


def _rows(t):
    return (t.x.shape[0],)


def positive(smoothing):
    """Whether labels are smoothed."""
    return smoothing > 0


SMOOTHED = {"smoothing": positive}
"""For kernels that only smoothed labels need."""
MIXED, UNMIXED = {"other": True}, {"other": False}
"""For kernels that only mixed labels need, and for those in whose place they stand."""


@device
def slope(x, i, label, other, rest):
    """The derivative of one row's loss with respect to the other label's share; NaN where a label is none."""
    known = 0 <= label < x.shape[1] and 0 <= other < x.shape[1]
    return rest * (x[i, label] - x[i, other]) if known else NAN


@device
def fold(scratch, value, largest):
    """The largest, or the sum, of the values of a block's threads, a place of scratch each; always the same tree."""
    thread, half = cuda.threadIdx.x, scratch.size // 2
    scratch[thread] = value
    cuda.syncthreads()
    while half > 0:
        if thread < half:
            other = scratch[thread + half]
            scratch[thread] = max(scratch[thread], other) if largest else scratch[thread] + other
        cuda.syncthreads()
        half //= 2
    result = scratch[0]
    cuda.syncthreads()
    return result


@device
def softmax_row(x, probs, i, scratch):
    """Write one row of probabilities; gives the highest score and the sum of exponentials relative to it."""
    thread = cuda.threadIdx.x
    highest = x[i, 0]
    for j in range(thread, x.shape[1], THREADS):
        highest = max(highest, x[i, j])
    highest = fold(scratch, highest, True)
    total = 0.0
    for j in range(thread, x.shape[1], THREADS):
        probs[i, j] = math.exp(x[i, j] - highest)
        total += probs[i, j]
    total = fold(scratch, total, False)
    for j in range(thread, x.shape[1], THREADS):
        probs[i, j] /= total
    return highest, total


@device
def better(x, i, label, scratch):
    """How many other classes score no lower than the label: a tie or a NaN counts against it."""
    count = 0.0
    for j in range(cuda.threadIdx.x, x.shape[1], THREADS):
        if j != label and not x[i, j] < x[i, label]:
            count += 1.0
    return fold(scratch, count, False)


@forward("cuda", over="x", grid=_rows, threads=THREADS, writes=("probs", "rows"), phases=("train", "eval"))
def judge_cuda(x, label, probs, rows, counters):
    """One row's probabilities and its terms of the report: zero for rows that only fill up a batch."""
    scratch = cuda.shared.array(THREADS, x.dtype)
    i = cuda.blockIdx.x
    known, valid = 0 <= label[i] < x.shape[1], i < counters[VALID]
    highest, total = softmax_row(x, probs, i, scratch)
    rank = better(x, i, label[i] if known else 0, scratch)
    if cuda.threadIdx.x == 0:
        loss = math.log(total) + (highest - x[i, label[i] if known else 0])
        rows[i, 0] = (loss if known else NAN) if valid else 0.0
        rows[i, 1] = 1.0 if valid and (rank >= 1.0 or not known) else 0.0
        rows[i, 2] = 1.0 if valid and (rank >= TOP or not known) else 0.0
        rows[i, 3] = 1.0 if valid else 0.0


@forward("cuda", over="x", grid=_rows, threads=THREADS, writes="rows", when=SMOOTHED, phases=("train",))
def smooth_cuda(x, label, rows, counters, spread):
    """What smoothing adds to one row's loss: its share of the label's lead over all classes."""
    scratch = cuda.shared.array(THREADS, x.dtype)
    i, thread = cuda.blockIdx.x, cuda.threadIdx.x
    at, lead = label[i] if 0 <= label[i] < x.shape[1] else 0, 0.0
    for j in range(thread, x.shape[1], THREADS):
        lead += x[i, at] - x[i, j]
    lead = fold(scratch, lead, False)
    if thread < rows.shape[1]:
        rows[i, thread] += spread * lead if thread == 0 and i < counters[VALID] else 0.0


@forward("cuda", over="share", threads=64, writes="rows", when=MIXED, phases=("train",))
def mix_cuda(x, label, other, share, rows, counters, rest):
    """What the other label's share adds to one row's loss."""
    i = cuda.grid(1)
    if i < rows.shape[0]:
        extra = share[i] * slope(x, i, label[i], other[i], rest) if i < counters[VALID] else 0.0
        for r in range(rows.shape[1]):
            rows[i, r] += extra if r == 0 else 0.0


@forward("cuda", over="report", writes="report", phases=("train", "eval"), threads=32)
def report_cuda(rows, report):
    """Sums over rows: one thread a sum."""
    r = cuda.grid(1)
    if r < report.size:
        total = 0.0
        for i in range(rows.shape[0]):
            total += rows[i, r]
        report[r] = total


@forward("cuda", over="x", grid=_rows, threads=THREADS, writes="probs", phases=("predict",))
def probs_cuda(x, probs):
    """Probabilities alone."""
    scratch = cuda.shared.array(THREADS, x.dtype)
    softmax_row(x, probs, cuda.blockIdx.x, scratch)


@backward("cuda", over="x", axes=(0, 1), threads=256, writes="d_x", when=UNMIXED, phases=("train",))
def backward_cuda(probs, label, d_x, counters, weight, spread, rest):
    """One element of the gradient a thread."""
    place = cuda.grid(1)
    i, j = place // d_x.shape[1], place % d_x.shape[1]
    if i < d_x.shape[0]:
        miss = probs[i, j] - (spread + rest if j == label[i] else spread)
        known = 0 <= label[i] < d_x.shape[1]
        valid = counters[VALID]
        d_x[i, j] = (weight * miss / probs.dtype.type(valid) if known else NAN) if i < valid else 0.0


@backward("cuda", over="x", axes=(0, 1), threads=256, writes="d_x", when=MIXED, phases=("train",))
def mixed_backward_cuda(probs, label, other, share, d_x, counters, weight, spread, rest):
    """One element of the gradient a thread: the label counts 1 - share, the other one share."""
    place = cuda.grid(1)
    i, j = place // d_x.shape[1], place % d_x.shape[1]
    if i < d_x.shape[0]:
        here = (1.0 - share[i] if j == label[i] else 0.0) + (share[i] if j == other[i] else 0.0)
        known = 0 <= label[i] < d_x.shape[1] and 0 <= other[i] < d_x.shape[1]
        factor = weight / probs.dtype.type(counters[VALID]) if known else NAN
        d_x[i, j] = factor * (probs[i, j] - spread - rest * here) if i < counters[VALID] else 0.0


@backward("cuda", over="share", threads=64, writes="d_share", when=MIXED, phases=("train",))
def share_cuda(x, label, other, d_share, counters, weight, rest):
    """The gradient of the share of one row a thread."""
    i = cuda.grid(1)
    if i < d_share.size:
        factor = weight / x.dtype.type(counters[VALID])
        d_share[i] = factor * slope(x, i, label[i], other[i], rest) if i < counters[VALID] else 0.0


MIXING = (mixed_backward_cuda, share_cuda)
PLAIN = Variant(
    "plain", kernels=(judge_cuda, smooth_cuda, mix_cuda, report_cuda, probs_cuda, backward_cuda, *MIXING)
)
