"""A cost layer that gives no probabilities: the squared distance of the scores from the label's unit vector."""

from netspec.plugin import VALID, Layer, Tensor, backward, forward, register


@register("squared_cost")
class SquaredCost(Layer):
    """loss = sum((x - e)^2), with e = 1 at the label and 0 elsewhere; in predict the scores themselves."""

    inputs = ("x", "label")
    optional = ("label",)
    reports = ("loss", "count")
    examples = ({"attrs": {}, "inputs": [(5, 7), (5,)]},)

    def outputs(self, x, label):
        if label is None:
            return {"scores": Tensor(x.shape, x.dtype)}
        return {"report": Tensor((2,), differentiable=False)}

    @forward("cpu", over="x", writes="scores", phases=("predict",))
    def copy_cpu(start, stop, x, scores):
        scores[start:stop] = x[start:stop]

    @forward("cpu", over="report", writes="report", phases=("train", "eval"))
    def report_cpu(start, stop, x, label, report, counters):
        for r in range(start, stop):
            total = 0.0
            for i in range(counters[VALID] if r == 0 else 0):
                for j in range(x.shape[1]):
                    distance = x[i, j] - (1.0 if j == label[i] else 0.0)
                    total += distance * distance
            report[r] = total if r == 0 else counters[VALID]

    @backward("cpu", over="x", axes=0, writes="d_x", phases=("train",))
    def backward_cpu(start, stop, x, label, d_x, counters):
        for i in range(start, stop):
            for j in range(x.shape[1]):
                distance = x[i, j] - (1.0 if j == label[i] else 0.0)
                d_x[i, j] = 2.0 * distance / counters[VALID] if i < counters[VALID] else 0.0
