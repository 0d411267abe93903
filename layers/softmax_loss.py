"""Softmax and cross-entropy in one layer, with the errors that training reports."""

import math

from netspec.layers._cpu import row_report
from netspec.layers._cuda import softmax_float4, softmax_plain
from netspec.layers._cuda.softmax_plain import MIXED, SMOOTHED, UNMIXED, slope
from netspec.plugin import (
    VALID,
    Flops,
    Layer,
    LayerError,
    Tensor,
    backward,
    device,
    forward,
    number,
    register,
)

LOSS, TOP1, TOP5, COUNT = 0, 1, 2, 3


@device
def softmax_row(x, probs, i):
    """Write one row of probabilities; gives the highest score and the sum of exponentials relative to it."""
    highest = x[i, 0]
    for j in range(1, x.shape[1]):
        highest = max(highest, x[i, j])
    total = 0.0
    for j in range(x.shape[1]):
        probs[i, j] = math.exp(x[i, j] - highest)
        total += probs[i, j]
    for j in range(x.shape[1]):
        probs[i, j] /= total
    return highest, total


@device
def better(x, i, label):
    """How many other classes score no lower than the label: a tie or a NaN counts against it."""
    count = 0
    for j in range(x.shape[1]):
        if j != label and not x[i, j] < x[i, label]:
            count += 1
    return count


@device
def lead(x, i, label):
    """By how much the label's score exceeds those of all classes, summed."""
    total = 0.0
    for j in range(x.shape[1]):
        total += x[i, label] - x[i, j]
    return total


@device
def judge_row(x, probs, rows, i, label, valid):
    """One row's probabilities and its terms of the report: zero for rows that only fill up a batch."""
    highest, total = softmax_row(x, probs, i)
    for r in range(rows.shape[1]):
        rows[i, r] = 0.0
    if i < valid:
        known = 0 <= label < x.shape[1]
        rank = better(x, i, label) if known else x.shape[1] + 5
        rows[i, LOSS] = math.log(total) + (highest - x[i, label]) if known else math.nan
        rows[i, TOP1] = 1.0 if rank >= 1 else 0.0
        rows[i, TOP5] = 1.0 if rank >= 5 else 0.0
        rows[i, COUNT] = 1.0


@device
def gradient_row(probs, d_x, i, label, other, share, valid, weight, spread, rest):
    """d_x of one row, whose label counts 1 - share and the other one share."""
    known = 0 <= label < probs.shape[1] and 0 <= other < probs.shape[1]
    factor = weight / valid if known else math.nan
    for j in range(probs.shape[1]):
        d_x[i, j] = factor * (probs[i, j] - spread) if i < valid else 0.0
    if known and i < valid:
        d_x[i, label] -= factor * rest * (1.0 - share)
        d_x[i, other] -= factor * rest * share


@register("softmax_loss")
class SoftmaxLoss(Layer):
    """loss = -log(softmax(x)[label]), reported as a sum over rows; the gradient is that of ``weight`` times the mean.

    Outputs: ``probs`` (N, K), the softmax; ``report``: the sums over valid rows of the loss, of the top-1 and top-5
    errors and of the rows themselves. A row is an error where 1 or 5 other classes score no lower than its label, so
    ties count as errors. A label outside [0, K) gives a loss that is not a number, which stops training.
    Without labels (predict) there is only ``probs``.

    With ``smoothing`` s training has the cross-entropy with (1 - s) [k = label] + s / K instead of [k = label], as
    torch.nn.CrossEntropyLoss(label_smoothing=s) (Szegedy et al. 2016, section 7). Evaluation reports the plain loss.

    Where images are mixed (``data.augment``: mixup) the loss in training is (1 - share) times that of the label plus
    share times that of the ``other`` one (Zhang et al. 2018); errors are counted against the label.
    """

    attrs = {
        "weight": number("Factor of this loss in the sum of losses.", default=1.0),
        "smoothing": number("Share of the label that is spread evenly over all classes, in training alone.",
                            default=0.0, minimum=0, below=1),
    }  # fmt: skip
    inputs = ("x", "label")
    optional = ("label",)
    mixed = ("other", "share")
    reports = ("loss", "top1", "top5", "count")
    nonfinite = dict.fromkeys(("top1", "top5"), "errors are counted: a score that is NaN is one; the loss is NaN then")
    variants = (softmax_float4.VARIANT, softmax_plain.PLAIN)
    kernels = row_report.KERNELS
    examples = (
        {"attrs": {"weight": 0.3}, "inputs": [(5, 7), (5,)]},
        {"attrs": {}, "inputs": [(3, 3), (3,)]},
        {"attrs": {"weight": 2.0}, "inputs": [(3, 520), (3,)]},
        {"attrs": {"smoothing": 0.1}, "inputs": [(3, 7), (3,)]},
        {"attrs": {"smoothing": 0.3, "weight": 2.0}, "inputs": [(3, 1032), (3,)]},
        {"attrs": {"weight": 0.3}, "inputs": [(5, 7), (5,), (5,), (5,)]},
        {"attrs": {"smoothing": 0.1}, "inputs": [(3, 520), (3,), (3,), (3,)]},
    )

    def outputs(self, x, label, other=None, share=None):
        if len(x.shape) != 2:
            remedy = "inputs: [SCORES, LABEL], such as [fc8, label]"
            raise LayerError(f"scores must have the shape (batch, classes), got {x.shape}", remedy)
        probs = Tensor(x.shape, differentiable=False)
        if label is None:
            return {"probs": probs}
        if label.shape != x.shape[:1] or label.dtype != "int32":
            raise LayerError(f"labels must be int32 of shape {x.shape[:1]}, got {label.dtype} of {label.shape}")
        return {"probs": probs, "report": Tensor((len(self.reports),), differentiable=False)}

    def onnx(self, nodes, t, x):
        """Softmax."""
        return {"probs": nodes.add("Softmax", x, axis=-1)}

    def torch(self, code, t, x):
        """Softmax."""
        return {"probs": f"{x}.softmax(-1)"}

    def workspace(self, t, variant, direction):
        return row_report.workspace(self, t, direction)

    def scalars(self, t, index=None):
        smoothing = self.attrs.smoothing if self.phase == "train" else 0.0
        return {"spread": smoothing / t.x.shape[1], "rest": 1.0 - smoothing}

    def flops(self, t):
        return Flops(forward=5 * t.x.size, d_inputs=2 * t.x.size)

    @forward("cpu", over="x", axes=0, block=8, writes=("probs", "rows"), phases=("train", "eval"))
    def judge_cpu(start, stop, x, label, probs, rows, counters):
        for i in range(start, stop):
            judge_row(x, probs, rows, i, label[i], counters[VALID])

    @forward("cpu", over="x", axes=0, block=8, writes="rows", when=SMOOTHED, phases=("train",))
    def smooth_cpu(start, stop, x, label, rows, counters, spread):
        for i in range(start, stop):
            known = i < counters[VALID] and 0 <= label[i] < x.shape[1]
            extra = spread * lead(x, i, label[i]) if known else 0.0
            for r in range(rows.shape[1]):
                rows[i, r] += extra if r == LOSS else 0.0

    @forward("cpu", over="x", axes=0, block=8, writes="rows", when=MIXED, phases=("train",))
    def mix_cpu(start, stop, x, label, other, share, rows, counters, rest):
        for i in range(start, stop):
            extra = share[i] * slope(x, i, label[i], other[i], rest) if i < counters[VALID] else 0.0
            for r in range(rows.shape[1]):
                rows[i, r] += extra if r == LOSS else 0.0

    @forward("cpu", over="x", axes=0, block=8, writes="probs", phases=("predict",))
    def probs_cpu(start, stop, x, probs):
        for i in range(start, stop):
            softmax_row(x, probs, i)

    @backward("cpu", over="x", axes=0, block=8, writes="d_x", when=UNMIXED, phases=("train",))
    def backward_cpu(start, stop, probs, label, d_x, counters, weight, spread, rest):
        for i in range(start, stop):
            gradient_row(probs, d_x, i, label[i], label[i], 0.0, counters[VALID], weight, spread, rest)

    @backward("cpu", over="x", axes=0, block=8, writes="d_x", when=MIXED, phases=("train",))
    def mixed_backward_cpu(start, stop, probs, label, other, share, d_x, counters, weight, spread, rest):
        for i in range(start, stop):
            gradient_row(probs, d_x, i, label[i], other[i], share[i], counters[VALID], weight, spread, rest)

    @backward("cpu", over="share", writes="d_share", when=MIXED, phases=("train",))
    def share_cpu(start, stop, x, label, other, d_share, counters, weight, rest):
        for i in range(start, stop):
            factor = weight / counters[VALID]
            d_share[i] = factor * slope(x, i, label[i], other[i], rest) if i < counters[VALID] else 0.0
