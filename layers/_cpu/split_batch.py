"""Convolution on CPUs: biases, and the reductions that end every backward pass, over chunks of the batch and images."""

from netspec.layers._batch_chunks import chunks
from netspec.plugin import Workspace, backward, forward


def workspace(t):
    """Weight gradients by chunk, bias gradients by image."""
    return {
        "partials": Workspace((chunks(t.x.shape[0]), t.weight.size)),
        "image_bias": Workspace((t.x.shape[0], t.weight.shape[3])),
    }


@backward("cpu", over="d_weight", writes="d_weight")
def d_weight_sum(start, stop, partials, d_weight):
    total = d_weight[start:stop]
    for i in range(start, stop):  # as in netspec.layers._cpu.bias_row
        d_weight[i] = partials[0, i]
    for chunk in range(1, partials.shape[0]):
        total += partials[chunk, start:stop]


@backward("cpu", over="image_bias", axes=0, writes="image_bias", when={"bias": True})
def d_bias_image(start, stop, dy, image_bias):
    for n in range(start, stop):
        total = image_bias[n]
        total[:] = 0
        for oh in range(dy.shape[1]):
            for ow in range(dy.shape[2]):
                for f in range(dy.shape[3]):
                    total[f] += dy[n, oh, ow, f]


@backward("cpu", over="d_bias", writes="d_bias", when={"bias": True})
def d_bias_sum(start, stop, image_bias, d_bias):
    for f in range(start, stop):
        total = 0.0
        for n in range(image_bias.shape[0]):
            total += image_bias[n, f]
        d_bias[f] = total


@forward("cpu", over="y", axes=0, writes="y", when={"bias": True})
def add_bias_cpu(start, stop, bias, y):
    for n in range(start, stop):
        for oh in range(y.shape[1]):
            for ow in range(y.shape[2]):
                for f in range(y.shape[3]):
                    y[n, oh, ow, f] += bias[f]


BIAS = (d_bias_image, d_bias_sum)
KERNELS = (d_weight_sum, *BIAS)
