"""Stochastic gradient descent with momentum and weight decay (Krizhevsky et al. 2012, section 5)."""

from netspec.contract.kernel import cuda, forward
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

    @forward("cuda", over="param", writes=("param", "momentum"), threads=256)
    def update_cuda(param, momentum, gradient, rates, finite, rate, decay):
        i = cuda.grid(1)
        if i >= param.size:
            return
        for device in range(finite.size):
            if finite[device] == 0:
                return
        step = rates[0] * rate
        v = rates[1] * momentum[i] - rates[2] * decay * step * param[i] - step * gradient[i]
        momentum[i] = v
        param[i] += v
