"""Layers that lose NaN or infinities, or let them into other images; see wrong.py."""

from netspec.plugin import Elementwise, Layer, Tensor, backward, cuda, forward, register


@register("wrong_nan_forward")
class LosesNaN(Elementwise):
    """y = x where x > 0, else 0: no comparison with NaN holds."""

    kinks = "at 0"

    def forward(x):
        return x if x > 0 else 0

    def backward(y, dy):
        return dy if y > 0 else 0


@register("wrong_nan_backward")
class LosesNaNOfGradient(Elementwise):
    """y = x, with gradients of at most 100."""

    def forward(x):
        return x

    def backward(dy):
        return dy if dy < 100 else 100


class Copy(Layer):
    """y = x, rightly; the variants are not right."""

    prefer = {"cpu": ("fast",)}

    def outputs(self, x):
        return Tensor(x.shape)

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        y[start:stop] = x[start:stop]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        d_x[start:stop] = dy[start:stop]


@register("wrong_nan_variant")
class ClampsInfinity(Copy):
    """The fast variant takes infinities for large numbers."""

    @forward("cpu", over="x", writes="y", variant="fast")
    def fast_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = min(max(x[i], -1e30), 1e30)


@register("wrong_nan_sign")
class TurnsInfinity(Copy):
    """y = 1 + x / 1,000,000; in the fast variant infinities get the other sign, finite numbers differ by less than a
    rounding.
    """

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 1 + x[i] * 1e-6

    @forward("cpu", over="x", writes="y", variant="fast")
    def fast_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 1 - x[i] * 1e-6

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        for i in range(start, stop):
            d_x[i] = dy[i] * 1e-6


@register("wrong_nan_images")
class MixesImages(Copy):
    """The fast variant adds zero times the first image."""

    @forward("cpu", over="x", axes=0, writes="y", variant="fast")
    def fast_cpu(start, stop, x, y):
        for n in range(start, stop):
            y[n] = x[n] + 0.0 * x[0]


@register("wrong_nan_word")
class ExcusesNothing(Copy):
    """What is excused is no tensor of the layer's."""

    nonfinite = {"z": "there is none"}


@register("wrong_nan_reason")
class GivesNoReason(Copy):
    """An exception without a reason."""

    nonfinite = {"y": ""}


@register("right_threshold")
class Threshold(Elementwise):
    """y = 1 where x > 0, else 0."""

    kinks = "at 0"
    nonfinite = {"y": "NaN is not above 0"}

    def forward(x):
        return 1 if x > 0 else 0

    def backward(dy):
        return dy * 0


@register("wrong_nan_cuda")
class LosesNaNOnCuda(Copy):
    """y = max(x, 0), which the CUDA kernel takes from a comparison."""

    kinks = "at 0"

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = max(x[i], 0.0)

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] if x[i] > 0.0 else 0.0

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = dy[i]
