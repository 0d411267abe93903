"""Stochastic gradient descent with momentum and weight decay (Krizhevsky et al. 2012, section 5)."""

from netspec.contract.attrs import number
from netspec.contract.solver import Solver, learning_rate, weight_decay


class SGD(Solver):
    """v = momentum v - weight_decay rate w - rate g; w = w + v"""

    attrs = {
        "learning_rate": learning_rate(0.01),
        "momentum": number("Share of the last step that is kept.", default=0.9, minimum=0, below=1),
        "weight_decay": weight_decay(0.0005),
    }
    state = ("momentum",)
    examples = ({}, {"momentum": 0.0, "weight_decay": 0.0})

    def update(w, g, v, rate, momentum, weight_decay):
        v = momentum * v - weight_decay * rate * w - rate * g
        return w + v, v
