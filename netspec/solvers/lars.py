"""Layer-wise adaptive rate scaling (You, Gitman and Ginsburg 2017, algorithm 1), for large batches."""

from netspec.contract.attrs import number
from netspec.contract.solver import Solver, learning_rate, weight_decay


class LARS(Solver):
    """local = trust |w| / (|g| + weight_decay |w|); v = momentum v + rate local (g + weight_decay w); w = w - v

    Norms are Euclidean, of a whole parameter, summed in float64; where |w| or |g| is 0 the local rate is 1, so that
    parameters that begin at 0 are trained too. A layer that is split over devices counts as one on each of them: each
    part has the local rate of its own norms, and none crosses.
    """

    attrs = {
        "learning_rate": learning_rate(1.0),
        "momentum": number("Share of the last step that is kept.", default=0.9, minimum=0, below=1),
        "weight_decay": weight_decay(0.0005),
        "trust": number("By how much a layer is trusted to change in an update (eta).", default=0.001, above=0),
    }
    state = ("momentum",)
    scales = ("local",)
    flops = 8
    examples = ({}, {"momentum": 0.0, "weight_decay": 0.0, "trust": 0.5})

    def scale(w_norm, g_norm, weight_decay, trust):
        if w_norm > 0 and g_norm > 0:
            return trust * w_norm / (g_norm + weight_decay * w_norm)
        return 1.0

    def update(w, g, v, rate, momentum, weight_decay, local):
        v = momentum * v + rate * local * (g + weight_decay * w)
        return w - v, v
