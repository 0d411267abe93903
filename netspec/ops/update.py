"""Stochastic gradient descent with momentum and weight decay (Krizhevsky et al. 2012, section 5)."""

from netspec.contract.kernel import cuda, device, forward, load4, store4, store_relaxed
from netspec.ops.base import Operation
from netspec.ops.finite import are_finite, is_finite


@device
def agreed(finite):
    """Whether no device's verdict is 0."""
    low = 1
    for number in range(finite.size):
        low = min(low, finite[number])
    return low != 0


@device
def factors(rates, rate, decay):
    """Of the gradient, of the momentum and of the parameter."""
    step = rates[0] * rate
    return step, rates[1], rates[2] * decay * step


class Update(Operation):
    """v = momentum v - decay rate w - rate g; w = w + v; nothing at all where some device's verdict, or the rate, is 0.

    ``rates`` holds learning rate, momentum and weight decay; ``rate`` and ``decay`` are the parameter's own factors.
    Where w, and so where v, does not stay finite, overflow[0] becomes 1: finite gradients do not rule that out.
    """

    @staticmethod
    def bindings(args):
        """One pass, all in one read and write of memory."""
        return [("update", {})]

    @forward("cpu", over="param", writes=("param", "momentum", "overflow"))
    def update_cpu(start, stop, param, momentum, gradient, rates, finite, overflow, rate, decay):
        if not agreed(finite):
            return
        step, keep, shrink = factors(rates, rate, decay)
        if step == 0.0:
            return
        w, v, g, good = param[start:stop], momentum[start:stop], gradient[start:stop], True
        for i in range(w.size):  # from 0, so that it is vectorised
            v[i] = keep * v[i] - shrink * w[i] - step * g[i]
            w[i] += v[i]
            good &= is_finite(w[i])
        if not good:
            overflow[0] = 1

    @forward("cuda", over="param", writes=("param", "momentum", "overflow"), threads=256, per_thread=4)
    def update_cuda(param, momentum, gradient, rates, finite, overflow, rate, decay):
        i = 4 * cuda.grid(1)
        if i + 4 <= param.size:  # nothing is waited for before all loads are on their way
            w, v, g = load4(param, i), load4(momentum, i), load4(gradient, i)
            step, keep, shrink = factors(rates, rate, decay)
            if agreed(finite) and step != 0.0:
                a, b = keep * v[0] - shrink * w[0] - step * g[0], keep * v[1] - shrink * w[1] - step * g[1]
                c, d = keep * v[2] - shrink * w[2] - step * g[2], keep * v[3] - shrink * w[3] - step * g[3]
                store4(momentum, i, a, b, c, d)
                new = w[0] + a, w[1] + b, w[2] + c, w[3] + d
                store4(param, i, new[0], new[1], new[2], new[3])
                if not are_finite(new):
                    store_relaxed(overflow, 0, 1)
        elif agreed(finite):
            step, keep, shrink = factors(rates, rate, decay)
            if step != 0.0:
                for j in range(i, param.size):
                    value = keep * momentum[j] - shrink * param[j] - step * gradient[j]
                    momentum[j] = value
                    param[j] += value
                    if not is_finite(param[j]):
                        store_relaxed(overflow, 0, 1)
