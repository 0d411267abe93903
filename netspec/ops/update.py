"""Stochastic gradient descent with momentum and weight decay (Krizhevsky et al. 2012, section 5)."""

from netspec.contract.kernel import cuda, forward, load4, store4
from netspec.ops.base import Operation


class Update(Operation):
    """v = momentum v - decay rate w - rate g; w = w + v; nothing at all where some device's verdict is 0.

    ``rates`` holds learning rate, momentum and weight decay; ``rate`` and ``decay`` are the parameter's own factors.
    """

    @staticmethod
    def bindings(args):
        """One pass, all in one read and write of memory."""
        return [("update", {})]

    @forward("cpu", over="param", writes=("param", "momentum"))
    def update_cpu(start, stop, param, momentum, gradient, rates, finite, rate, decay):
        for device in range(finite.size):
            if finite[device] == 0:
                return
        step = rates[0] * rate
        shrink = rates[2] * decay * step
        keep = rates[1]
        w, v, g = param[start:stop], momentum[start:stop], gradient[start:stop]
        for i in range(w.size):  # from 0, so that it is vectorised
            v[i] = keep * v[i] - shrink * w[i] - step * g[i]
            w[i] += v[i]

    @forward("cuda", over="param", writes=("param", "momentum"), threads=256, per_thread=4)
    def update_cuda(param, momentum, gradient, rates, finite, rate, decay):
        for device in range(finite.size):
            if finite[device] == 0:
                return
        step, keep, i = rates[0] * rate, rates[1], 4 * cuda.grid(1)
        shrink = rates[2] * decay * step
        if i + 4 <= param.size:
            w0, w1, w2, w3 = load4(param, i)
            v0, v1, v2, v3 = load4(momentum, i)
            g0, g1, g2, g3 = load4(gradient, i)
            v0, v1 = keep * v0 - shrink * w0 - step * g0, keep * v1 - shrink * w1 - step * g1
            v2, v3 = keep * v2 - shrink * w2 - step * g2, keep * v3 - shrink * w3 - step * g3
            store4(momentum, i, v0, v1, v2, v3)
            store4(param, i, w0 + v0, w1 + v1, w2 + v2, w3 + v3)
        else:
            for j in range(i, param.size):
                momentum[j] = keep * momentum[j] - shrink * param[j] - step * gradient[j]
                param[j] += momentum[j]
