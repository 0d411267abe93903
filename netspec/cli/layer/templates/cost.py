"""Log-cosh: what the cost is in a line, and where it is from (authors and year)."""

import math

from netspec.plugin import VALID, Flops, Layer, LayerError, Tensor, backward, cuda, device, forward, register

THREADS = 256
LOG_2 = math.log(2.0)


@device
def log_cosh(distance):
    """log(cosh(d)) = abs(d) + log((1 + exp(-2 abs(d))) / 2), which does not overflow."""
    size = abs(distance)
    return size + math.log1p(math.exp(-2 * size)) - LOG_2


@register("my_layer")
class MyLayer(Layer):
    """loss = mean of log(cosh(x - target)) over the batch and the numbers of a row"""

    inputs = ("x", "target")
    optional = ("target",)  # in predict there is none
    reports = ("loss", "count")  # sums over the valid rows, the loss first, how many rows last
    examples = ({"attrs": {}, "inputs": [(5, 7), (5, 7)]}, {"attrs": {}, "inputs": [(3, 1), (3, 1)]})

    def outputs(self, x, target):
        """prediction (N, K): x as it is; report: the sums."""
        if len(x.shape) != 2:
            raise LayerError(f"predictions must have the shape (batch, numbers), got {x.shape}", "read a dense layer")
        prediction = Tensor(x.shape, x.dtype, differentiable=False)
        if target is None:
            return {"prediction": prediction}
        if target.shape != x.shape or target.dtype != x.dtype:
            raise LayerError(f"targets must be as predictions, {x.dtype} {x.shape}, got {target.dtype} {target.shape}")
        return {"prediction": prediction, "report": Tensor((len(self.reports),), differentiable=False)}

    def scalars(self, t, index=None):
        return {"share": 1 / t.x.shape[1]}

    def flops(self, t):
        return Flops(forward=6 * t.x.size, d_inputs=4 * t.x.size)

    # Of the last batch of an epoch the first counters[VALID] rows are images; the others count nowhere.
    # Sums are taken in a fixed order, without atomics: any team of threads gives the same bits.

    @forward("cpu", over="x", writes="prediction")
    def predict_cpu(start, stop, x, prediction):
        prediction[start:stop] = x[start:stop]

    @forward("cpu", over="report", writes="report", phases=("train", "eval"))
    def report_cpu(start, stop, x, target, report, counters, share):
        for r in range(start, stop):
            total = 0.0
            for i in range(counters[VALID] if r == 0 else 0):
                for j in range(x.shape[1]):
                    total += log_cosh(x[i, j] - target[i, j])
            report[r] = total * share if r == 0 else counters[VALID]

    # Of the mean over valid rows, so that learning rates do not depend on the batch. x.dtype.type(n) is n as a float32:
    # float32 / int would be float64.

    @backward("cpu", over="d_x", axes=0, writes=("d_x", "d_target"), phases="train")
    def backward_cpu(start, stop, x, target, d_x, d_target, counters, share):
        each = share / x.dtype.type(counters[VALID])
        for i in range(start, stop):
            for j in range(x.shape[1]):
                d_x[i, j] = each * math.tanh(x[i, j] - target[i, j]) if i < counters[VALID] else 0.0
                d_target[i, j] = -d_x[i, j]

    @forward("cuda", over="x", writes="prediction")
    def predict_cuda(x, prediction):
        i = cuda.grid(1)
        if i < x.size:
            prediction[i] = x[i]

    @forward("cuda", over="report", grid=lambda t: (1,), threads=THREADS, writes="report", phases=("train", "eval"))
    def report_cuda(x, target, report, counters, share):
        sums, thread = cuda.shared.array(THREADS, x.dtype), cuda.threadIdx.x
        total = 0.0
        for i in range(thread, counters[VALID] * x.shape[1], THREADS):
            total += log_cosh(x.flat[i] - target.flat[i])
        sums[thread] = total
        half = THREADS // 2
        while half > 0:
            cuda.syncthreads()
            if thread < half:
                sums[thread] += sums[thread + half]
            half //= 2
        if thread == 0:
            report[0] = sums[0] * share
            report[1] = x.dtype.type(counters[VALID])

    @backward("cuda", over="d_x", axes=(0, 1), threads=THREADS, writes=("d_x", "d_target"), phases="train")
    def backward_cuda(x, target, d_x, d_target, counters, share):
        i, j = cuda.grid(1) // x.shape[1], cuda.grid(1) % x.shape[1]
        if i < x.shape[0]:
            each = share / x.dtype.type(counters[VALID])
            d_x[i, j] = each * math.tanh(x[i, j] - target[i, j]) if i < counters[VALID] else 0.0
            d_target[i, j] = -d_x[i, j]
