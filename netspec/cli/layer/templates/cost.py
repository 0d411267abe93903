"""Log-cosh: what the cost is in a line, and where it is from (authors and year)."""

import math

from netspec.plugin import LayerError, Rowwise, Tensor, per_element, per_row, register

LOG_2 = math.log(2.0)


def row_of(losses, width):
    """What a row adds to the report: its mean loss, and 1, as it counts."""
    return losses / width, 1.0


@register("my_layer")
class MyLayer(Rowwise):
    """loss = mean of log(cosh(x - target)) over the batch and the numbers of a row"""

    inputs = ("x", "target")
    optional = ("target",)  # in predict there is none
    reports = ("loss", "count")  # sums over the batch, the loss first, how many rows last
    examples = ({"attrs": {}, "inputs": [(5, 7), (5, 7)]}, {"attrs": {}, "inputs": [(3, 1), (3, 1)]})

    def outputs(self, x, target):
        """prediction (N, K): x as it is; report: the sums."""
        if len(x.shape) != 2:
            raise LayerError(f"predictions must have the shape (batch, numbers), got {x.shape}", "read a dense layer")
        prediction = Tensor(x.shape, differentiable=False)  # float32, however x is stored
        if target is None:
            return {"prediction": prediction}
        if target.shape != x.shape or "float" not in target.dtype:
            raise LayerError(f"targets must be floats of shape {x.shape}, got {target.dtype} of {target.shape}")
        return {"prediction": prediction, "report": Tensor((len(self.reports),), differentiable=False)}

    # Functions of single numbers, without self: compiled for CPUs and for GPUs.
    # Summed along each row, and what ``finish`` makes of that over all rows; the last batch of an epoch may have fewer
    # images than rows, which then count nowhere.

    @per_row("forward", total="report", finish=row_of, phases=("train", "eval"))
    def losses(x, target):
        size = abs(x - target)
        return size + math.log1p(math.exp(-2 * size)) - LOG_2  # log(cosh(size)), which does not overflow

    @per_element("forward", writes="prediction")
    def answer(x):
        return x

    # Gradients are those of the mean, so that learning rates do not depend on the batch.

    @per_element("backward", writes=("d_x", "d_target"))
    def slopes(x, target, valid, images, width):
        slope = math.tanh(x - target) / (images * width) if valid > 0 else 0
        return slope, -slope
