"""Mean squared error in CUDA: a warp a row, a tree of sums in shared memory."""

from netspec.layers._cuda.softmax_plain import THREADS, fold, report_cuda
from netspec.plugin import VALID, Variant, backward, cuda, device, forward


def _rows(t):
    return (t.x.shape[0],)


@forward("cuda", over="x", grid=_rows, threads=THREADS, writes=("prediction", "rows"), phases=("train", "eval"))
def judge_cuda(x, target, prediction, rows, counters):
    """One row's answer and its terms of the report: zero for rows that only fill up a batch."""
    scratch = cuda.shared.array(THREADS, x.dtype)
    i, thread, counted = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockIdx.x < counters[VALID]
    squares, distances = 0.0, 0.0
    for j in range(thread, x.shape[1], THREADS):
        prediction[i, j] = x[i, j]
        difference = x[i, j] - target[i, j]
        squares += difference * difference
        distances += abs(difference)
    squares, distances = fold(scratch, squares, False), fold(scratch, distances, False)
    if thread == 0:
        rows[i, 0] = squares / x.shape[1] if counted else 0.0
        rows[i, 1] = squares / x.shape[1] if counted else 0.0
        rows[i, 2] = distances / x.shape[1] if counted else 0.0
        rows[i, 3] = 1.0 if counted else 0.0


@forward("cuda", over="x", writes="prediction", phases=("predict",))
def prediction_cuda(x, prediction):
    """The answer as it is."""
    i = cuda.grid(1)
    if i < x.size:
        prediction[i] = x[i]


@device
def gradient(x, target, place, valid, factor):
    """One element of a gradient."""
    i, j = place // x.shape[1], place % x.shape[1]
    return factor * (x[i, j] - target[i, j]) / (valid * x.shape[1]) if i < valid else 0.0


@backward("cuda", over="x", axes=(0, 1), threads=256, writes="d_x", phases=("train",))
def backward_cuda(x, target, d_x, counters, weight):
    """One element of the prediction's gradient a thread."""
    place = cuda.grid(1)
    if place < d_x.size:
        d_x[place // x.shape[1], place % x.shape[1]] = gradient(x, target, place, counters[VALID], 2.0 * weight)


@backward("cuda", over="x", axes=(0, 1), threads=256, writes="d_target", phases=("train",))
def target_cuda(x, target, d_target, counters, weight):
    """One element of the target's gradient a thread."""
    place = cuda.grid(1)
    if place < d_target.size:
        d_target[place // x.shape[1], place % x.shape[1]] = gradient(x, target, place, counters[VALID], -2.0 * weight)


PLAIN = Variant("plain", kernels=(judge_cuda, report_cuda, prediction_cuda, backward_cuda, target_cuda))
