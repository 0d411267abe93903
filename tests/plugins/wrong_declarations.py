"""Layers that declare what is wrong; see tests/check/test_mistakes.py.

A message must name the lines that end with the comment "told".
"""

from netspec.plugin import (
    Channelwise,
    Layer,
    LayerError,
    Param,
    Tensor,
    backward,
    forward,
    integer,
    per_channel,
    per_element,
    register,
)


@register("uneven")
class Uneven(Layer):
    """A parameter of a fixed length, which two devices cannot halve."""

    def outputs(self, x):
        return Tensor(x.shape)

    def params(self, x):
        return {"shift": Param((3,), {"type": "constant", "value": 0.0})}

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        y[start:stop] = x[start:stop]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        d_x[start:stop] = dy[start:stop]

    @backward("cpu", over="shift", writes="d_shift")
    def shift_cpu(start, stop, d_shift):
        d_shift[start:stop] = 0.0


@register("unsaid_fan")
class UnsaidFan(Layer):
    """A parameter that begins by what it does not say."""

    def outputs(self, x):
        return Tensor(x.shape)

    def params(self, x):
        return {"shift": Param((x.shape[-1],), {"type": "he"})}

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        y[start:stop] = x[start:stop]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        d_x[start:stop] = dy[start:stop]

    @backward("cpu", over="shift", writes="d_shift")
    def shift_cpu(start, stop, d_shift):
        d_shift[start:stop] = 0.0


@register("undivided")
class Undivided(Layer):
    """Channels are repeated up to a number that is not said to be divided."""

    attrs = {"units": integer("Channels of the output.", default=8, minimum=1)}

    def outputs(self, x):
        if self.attrs.units % x.shape[-1]:
            raise LayerError("the units are no multiple of the channels", attr="units")
        return Tensor((*x.shape[:-1], self.attrs.units))

    @forward("cpu", over="y", axes=0, writes="y")
    def forward_cpu(start, stop, x, y, units):
        given, out = x[start:stop].reshape(-1, x.shape[-1]), y[start:stop].reshape(-1, units)
        for n in range(out.shape[0]):
            for u in range(units):
                out[n, u] = given[n, u * given.shape[1] // units]

    @backward("cpu", over="d_x", axes=0, writes="d_x")
    def backward_cpu(start, stop, dy, d_x, units):
        own = d_x[start:stop].reshape(-1, d_x.shape[-1])
        given = dy[start:stop].reshape(-1, units)
        for n in range(own.shape[0]):
            own[n] = 0.0
            for u in range(units):
                own[n, u * own.shape[1] // units] += given[n, u]


@register("mixes")
class Mixes(Layer):
    """y = the sum of all channels in each of them, which is not said."""

    def outputs(self, x):
        return Tensor(x.shape)

    @forward("cpu", over="x", axes=0, writes="y")
    def forward_cpu(start, stop, x, y):
        rows, out = x[start:stop].reshape(-1, x.shape[-1]), y[start:stop].reshape(-1, x.shape[-1])
        for n in range(rows.shape[0]):
            out[n] = rows[n].sum()

    @backward("cpu", over="x", axes=0, writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        rows, out = dy[start:stop].reshape(-1, dy.shape[-1]), d_x[start:stop].reshape(-1, dy.shape[-1])
        for n in range(rows.shape[0]):
            out[n] = rows[n].sum()


@register("mixes_narrower")
class MixesNarrower(Layer):
    """y = x weight: a shard that reads half of the channels has half of the rows, which is not said."""

    attrs = {"units": integer("Channels of the output.", default=6, minimum=1)}
    divided = ("units",)

    def outputs(self, x):
        return Tensor((*x.shape[:-1], self.attrs.units))

    def params(self, x):
        return {"weight": Param((x.shape[-1], self.attrs.units), {"type": "gaussian", "std": 0.1})}

    @forward("cpu", over="y", axes=0, block=32, writes="y", host=True)
    def product(ops, start, stop, x, weight, y):
        depth, units = weight.shape
        ops.gemm(x[start:stop].reshape(-1, depth), weight, y[start:stop].reshape(-1, units))

    @backward("cpu", over="d_x", axes=0, block=32, writes="d_x", host=True)
    def back(ops, start, stop, dy, weight, d_x):
        depth, units = weight.shape
        ops.gemm(dy[start:stop].reshape(-1, units), weight, d_x[start:stop].reshape(-1, depth), trans_b=True)

    @backward("cpu", over="d_weight", axes=0, block=64, writes="d_weight", host=True)
    def weights(ops, start, stop, x, dy, d_weight):
        depth, units = d_weight.shape
        ops.gemm(x.reshape(-1, depth)[:, start:stop], dy.reshape(-1, units), d_weight[start:stop], trans_a=True)


@register("mixes_without_groups")
class MixesWithoutGroups(Mixes):
    """The same, where it is said but the channels cannot be told apart."""

    mixes_channels = True


@register("channelwise_type")
class ChannelwiseType(Channelwise):
    """A scalar function that is given what is no number."""

    def params(self, x):
        return {"gain": Param(x.shape[-1:], {"type": "constant", "value": 1.0})}

    @per_element("forward", writes="y", channels=["gain"])
    def scaled(x, gain):
        return gain.value * x  # told

    @per_element("backward", writes="d_x", channels=["gain"])
    def d_x(dy, gain):
        return gain * dy

    @per_channel("backward", writes="d_gain")
    def d_gain(x, dy):
        return x * dy
