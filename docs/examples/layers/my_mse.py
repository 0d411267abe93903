"""Mean squared error, from outside."""

from netspec.plugin import Rowwise, Tensor, number, per_element, per_row, register


def terms_of(squares, distances, width):
    """A row's loss, what its root mean square and its mean absolute error are of, and 1: it counts."""
    return squares / width, squares / width, distances / width, 1.0


@register("my_mse")
class MyMeanSquaredError(Rowwise):
    """loss = mean((x - target)^2), for x and target (N, K)"""

    attrs = {"weight": number("Factor of the loss.", default=1.0)}
    optional = ("target",)
    inputs, reports = ("x", "target"), ("loss", "rmse", "mae", "count")
    examples = ({"attrs": {"weight": 0.3}, "inputs": [(5, 7), (5, 7)]}, {"attrs": {}, "inputs": [(3, 1), (3, 1)]})

    def outputs(self, x, target):
        prediction = {"prediction": Tensor(x.shape, differentiable=False)}
        return prediction if target is None else {**prediction, "report": Tensor((4,), differentiable=False)}

    @per_row("forward", total="report", finish=terms_of, sums=2, phases=("train", "eval"))
    def errors(x, target):
        return (x - target) * (x - target), abs(x - target)

    @per_element("forward", writes="prediction")
    def answer(x):
        return x

    @per_element("backward", writes=("d_x", "d_target"), numbers=["weight"])
    def slopes(x, target, weight, valid, images, width):
        slope = weight * 2 * (x - target) / (images * width) if valid > 0 else 0
        return slope, -slope
