"""Nesterov's accelerated gradient in the form of Sutskever et al. (2013), as torch.optim.SGD(nesterov=True) has it."""

from netspec.contract.attrs import number
from netspec.contract.solver import Solver, learning_rate, weight_decay


class Nesterov(Solver):
    """d = g + weight_decay w; v = momentum v + d; w = w - rate (d + momentum v)"""

    attrs = {
        "learning_rate": learning_rate(0.01),
        "momentum": number("Share of the last direction that is kept.", default=0.9, minimum=0, below=1),
        "weight_decay": weight_decay(0.0005),
    }
    state = ("momentum",)
    flops = 8
    examples = ({}, {"momentum": 0.0})

    def update(w, g, v, rate, momentum, weight_decay):
        d = g + weight_decay * w
        v = momentum * v + d
        return w - rate * (d + momentum * v), v
