"""Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2), with the settings of PyTorch's AdamW."""

from math import sqrt

from netspec.contract.attrs import number
from netspec.contract.solver import Solver, learning_rate, weight_decay


class AdamW(Solver):
    """m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2
    w = w - rate (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay w)

    t counts the updates of the parameter itself, also where it was frozen for a while. The scales are 1 - beta1^t and
    1 - beta2^t, kept by the recursion of the means of 1. With a learning rate of alpha the paper's lambda is
    alpha weight_decay.
    """

    attrs = {
        "learning_rate": learning_rate(0.001),
        "beta1": number("Share of the mean gradient that is kept.", default=0.9, minimum=0, below=1),
        "beta2": number("Share of the mean squared gradient that is kept.", default=0.999, minimum=0, below=1),
        "epsilon": number("What is added to the root of the mean square.", default=1e-8, above=0),
        "weight_decay": weight_decay(0.01),
    }
    state = ("m", "v")
    scales = ("m_whole", "v_whole")
    flops = 16
    examples = ({}, {"beta1": 0.0, "beta2": 0.0, "weight_decay": 0.0}, {"epsilon": 0.1})

    def scale(m_whole, v_whole, beta1, beta2):
        return m_whole + (1 - beta1) * (1 - m_whole), v_whole + (1 - beta2) * (1 - v_whole)

    def update(w, g, m, v, rate, weight_decay, beta1, beta2, epsilon, m_whole, v_whole):
        m = m + (1 - beta1) * (g - m)
        v = v + (1 - beta2) * (g * g - v)
        step = m * (1 / m_whole) / (sqrt(v * (1 / v_whole)) + epsilon)
        return w - rate * (step + weight_decay * w), m, v
