"""Group normalisation: parts of the channels of each image (Wu and He 2018).

Forward keeps the normalised input, so that backward does not read the input itself.
"""

import math
from typing import NamedTuple

from netspec.layers._batch_chunks import block_of_images
from netspec.layers._cuda.softmax_plain import fold
from netspec.plugin import (
    Channelwise,
    Flops,
    LayerError,
    Param,
    Tensor,
    Workspace,
    backward,
    cuda,
    device,
    forward,
    integer,
    number,
    per_channel,
    register,
)

THREADS = 128
TRAIN, REST = ("train",), ("eval", "predict")


class Groups(NamedTuple):
    """Images, pixels of each, groups of the channels and channels of each."""

    images: int
    pixels: int
    groups: int
    depth: int


def _grid(t):
    return (t.groups.images * t.groups.groups,)


ON_CUDA = {"over": "rstd", "threads": THREADS, "grid": _grid, "linear": True}
"""A block of threads has a group."""


@device
def spread_over_groups(sums, count, shape):
    """Put the mean of each group's sums, of ``count`` elements, in the place of each of its channels."""
    for g in range(shape.groups):
        own = sums[g * shape.depth : (g + 1) * shape.depth]
        total = 0.0
        for c in range(own.size):
            total += own[c]
        own[:] = total / count


@device
def normalise_image(x, weight, bias, normal, y, rstd, sums, epsilon, shape):
    """One image: x, normal and y are (pixels, C), rstd (groups); sums (3, C) are scratch."""
    mean, scale, count = sums[0], sums[1], mean_count(sums, shape)
    mean[:] = 0
    scale[:] = 0
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            mean[c] += x[p, c]
    spread_over_groups(mean, count, shape)
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            scale[c] += (x[p, c] - mean[c]) * (x[p, c] - mean[c])
    spread_over_groups(scale, count, shape)
    for c in range(scale.size):
        scale[c] = 1.0 / math.sqrt(scale[c] + epsilon)
    for g in range(shape.groups):
        rstd[g] = scale[g * shape.depth]
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            value = (x[p, c] - mean[c]) * scale[c]
            normal[p, c] = value
            y[p, c] = value * weight[c] + bias[c]


@device
def mean_count(sums, shape):
    """Elements of a group, in the compute dtype."""
    return sums.dtype.type(shape.pixels * shape.depth)


@device
def d_image(normal, weight, rstd, dy, d_x, sums, shape):
    """The gradient of one image: rstd * (g - mean(g) - normal * mean(g * normal)), with g = dy * weight."""
    mean, share, scale, count = sums[0], sums[1], sums[2], mean_count(sums, shape)
    mean[:] = 0
    share[:] = 0
    for g in range(shape.groups):
        scale[g * shape.depth : (g + 1) * shape.depth] = rstd[g]
    for p in range(dy.shape[0]):
        for c in range(dy.shape[1]):
            gradient = dy[p, c] * weight[c]
            mean[c] += gradient
            share[c] += gradient * normal[p, c]
    spread_over_groups(mean, count, shape)
    spread_over_groups(share, count, shape)
    for p in range(dy.shape[0]):
        for c in range(dy.shape[1]):
            d_x[p, c] = scale[c] * (dy[p, c] * weight[c] - mean[c] - normal[p, c] * share[c])


@device
def place(e, block, shape):
    """Where element e of a block's group lies in the tensor, and its channel."""
    n, g = block // shape.groups, block % shape.groups
    pixel, c = e // shape.depth, g * shape.depth + e % shape.depth
    return (n * shape.pixels + pixel) * shape.groups * shape.depth + c, c


@device
def normalise_group(x, weight, bias, normal, y, rstd, epsilon, shape, scratch):
    """A block's group."""
    block, size = cuda.blockIdx.x, shape.pixels * shape.depth
    count = x.dtype.type(size)
    total = 0.0
    for e in range(cuda.threadIdx.x, size, THREADS):
        total += x[place(e, block, shape)[0]]
    mean, squares = fold(scratch, total, False) / count, 0.0
    for e in range(cuda.threadIdx.x, size, THREADS):
        distance = x[place(e, block, shape)[0]] - mean
        squares += distance * distance
    scale = 1.0 / math.sqrt(fold(scratch, squares, False) / count + epsilon)
    if cuda.threadIdx.x == 0:
        rstd[block] = scale
    for e in range(cuda.threadIdx.x, size, THREADS):
        i, c = place(e, block, shape)
        value = (x[i] - mean) * scale
        normal[i] = value
        y[i] = value * weight[c] + bias[c]


@register("group_norm")
class GroupNorm(Channelwise):
    """y = (x - mean) / sqrt(variance + epsilon) * weight[c] + bias[c]

    Mean and variance are those of one image's pixels in one group of channels: PyTorch's GroupNorm. With as many groups
    as channels it is instance normalisation (Ulyanov et al. 2016).
    """

    attrs = {
        "groups": integer("Parts of the channels, of which each has its statistics.", minimum=1),
        "epsilon": number("Added to the variance.", default=1e-5, above=0),
    }
    channelwise = False
    mixes_channels = True
    divided = ("groups",)
    examples = (
        {"attrs": {"groups": 2}, "inputs": [(2, 3, 2, 8)]},
        {"attrs": {"groups": 7, "epsilon": 0.1}, "inputs": [(3, 4, 3, 7)]},
        {"attrs": {"groups": 1}, "inputs": [(2, 9, 5, 6)]},
    )

    def shape_of(self, x):
        """What is normalised together."""
        images, groups, width = x.shape[0], self.attrs.groups, x.shape[-1]
        return Groups(images, x.size // (images * width), groups, width // groups)

    def outputs(self, x):
        if x.shape[-1] % self.attrs.groups:
            raise LayerError(f"{x.shape[-1]} channels do not divide into {self.attrs.groups} groups", attr="groups")
        shape = self.shape_of(x)
        if shape.pixels * shape.depth == 1:
            raise LayerError("each group is one element, which has no variance", "take fewer groups", "groups")
        return super().outputs(x)

    def params(self, x):
        starts = {"weight": 1.0, "bias": 0.0}
        return {name: Param(x.shape[-1:], {"type": "constant", "value": one}, axis=0) for name, one in starts.items()}

    def saved(self, x):
        shape = self.shape_of(x)
        kept = {"normal": Tensor(x.shape, x.dtype), "rstd": Tensor((shape.images, shape.groups))}
        return kept if self.phase == "train" else {}

    def tensors(self, inputs):
        """With them the groups."""
        t = super().tensors(inputs)
        t.groups = self.shape_of(t.x)
        return t

    def workspace(self, t, variant, direction):
        shape, own = t.groups, {"sums": Workspace((3, t.x.shape[-1]), per="member")}
        if self.phase != "train":
            own["rstd"] = Workspace((shape.images, shape.groups))
        return {**own, **super().workspace(t, variant, direction)}

    def scalars(self, t, index=None):
        return {**super().scalars(t, index), "shape": t.groups}

    def flops(self, t):
        return Flops(forward=8 * t.x.size, d_inputs=9 * t.x.size, d_params=3 * t.x.size)

    def onnx(self, nodes, t, x):
        """InstanceNormalization of each group as one channel; GroupNormalization is younger than the opset."""
        shape = t.groups
        apart = nodes.add("Reshape", x, nodes.constant([0, shape.groups, -1], "groups"))
        ones, zeros = (nodes.constant([one] * shape.groups) for one in (1.0, 0.0))
        normal = nodes.add("InstanceNormalization", apart, ones, zeros, epsilon=self.attrs.epsilon)
        whole = nodes.add("Reshape", normal, nodes.add("Shape", x))
        weight, bias = (nodes.per_channel(nodes.params[name], t.x, name) for name in ("weight", "bias"))
        return nodes.add("Add", nodes.add("Mul", whole, weight), bias)

    def torch(self, code, t, x):
        """nn.GroupNorm; it has channels as its second axis, behind which frames come."""
        code.holds("weight")
        code.holds("bias")
        norm = code.module("nn.GroupNorm", t.groups.groups, t.x.shape[-1], eps=self.attrs.epsilon)
        return f"{norm}({x}.transpose(1, 2)).transpose(1, 2)" if len(t.x.shape) == 5 else f"{norm}({x})"

    @forward("cpu", over="rstd", axes=0, block=block_of_images, writes=("y", "normal", "rstd"), phases=TRAIN)
    def normalise_cpu(start, stop, x, weight, bias, y, normal, rstd, sums, epsilon, shape: Groups):
        images, results = x.reshape(shape.images, -1, bias.size), y.reshape(shape.images, -1, bias.size)
        kept = normal.reshape(shape.images, -1, bias.size)
        for n in range(start, stop):
            normalise_image(images[n], weight, bias, kept[n], results[n], rstd[n], sums, epsilon, shape)

    @forward("cpu", over="rstd", axes=0, block=block_of_images, writes=("y", "rstd"), phases=REST)
    def normalise_only_cpu(start, stop, x, weight, bias, y, rstd, sums, epsilon, shape: Groups):
        images, results = x.reshape(shape.images, -1, bias.size), y.reshape(shape.images, -1, bias.size)
        for n in range(start, stop):
            normalise_image(images[n], weight, bias, results[n], results[n], rstd[n], sums, epsilon, shape)

    @backward("cpu", over="rstd", axes=0, block=block_of_images, writes="d_x")
    def d_x_cpu(start, stop, normal, weight, rstd, dy, d_x, sums, shape: Groups):
        kept, above = normal.reshape(shape.images, -1, weight.size), dy.reshape(shape.images, -1, weight.size)
        results = d_x.reshape(shape.images, -1, weight.size)
        for n in range(start, stop):
            d_image(kept[n], weight, rstd[n], above[n], results[n], sums, shape)

    @forward("cuda", **ON_CUDA, writes=("y", "normal", "rstd"), phases=TRAIN)
    def normalise_cuda(x, weight, bias, y, normal, rstd, epsilon, shape: Groups):
        scratch = cuda.shared.array(THREADS, x.dtype)
        normalise_group(x, weight, bias, normal, y, rstd, epsilon, shape, scratch)

    @forward("cuda", **ON_CUDA, writes=("y", "rstd"), phases=REST)
    def normalise_only_cuda(x, weight, bias, y, rstd, epsilon, shape: Groups):
        scratch = cuda.shared.array(THREADS, x.dtype)
        normalise_group(x, weight, bias, y, y, rstd, epsilon, shape, scratch)

    @backward("cuda", **ON_CUDA, writes="d_x")
    def d_x_cuda(normal, weight, rstd, dy, d_x, shape: Groups):
        scratch = cuda.shared.array(THREADS, dy.dtype)
        block, size = cuda.blockIdx.x, shape.pixels * shape.depth
        total, shares = 0.0, 0.0
        for e in range(cuda.threadIdx.x, size, THREADS):
            i, c = place(e, block, shape)
            total += dy[i] * weight[c]
            shares += dy[i] * weight[c] * normal[i]
        count = dy.dtype.type(size)
        mean, share = fold(scratch, total, False) / count, fold(scratch, shares, False) / count
        for e in range(cuda.threadIdx.x, size, THREADS):
            i, c = place(e, block, shape)
            d_x[i] = rstd[block] * (dy[i] * weight[c] - mean - normal[i] * share)

    @per_channel("backward", writes=("d_weight", "d_bias"))
    def d_numbers(normal, dy):
        return dy * normal, dy
