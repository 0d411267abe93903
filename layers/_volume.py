"""Windows over volumes and sequences of images, (N, D, H, W, C): where those of conv3d and pool3d lie by axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from netspec.layers._window import WHOLE, all_read, taps
from netspec.plugin import LayerError, Tensor, device, pair

AXES = ("depth", "height", "width")


class Volume(NamedTuple):
    """Window i of an axis starts at ``i * stride - pad``, and its ``size`` places lie ``apart`` of each other.

    Kernels take it as one argument. An average counts places from ``-before`` on, below the length and ``after``.
    """

    size_d: int
    size_h: int
    size_w: int
    stride_d: int
    stride_h: int
    stride_w: int
    pad_d: int
    pad_h: int
    pad_w: int
    apart_d: int
    apart_h: int
    apart_w: int
    before_d: int = 0
    before_h: int = 0
    before_w: int = 0
    after_d: int = 0
    after_h: int = 0
    after_w: int = 0

    @property
    def size(self) -> tuple[int, int, int]:
        """Depth, height and width of a window; so for all triples."""
        return self[:3]

    @property
    def stride(self) -> tuple[int, int, int]:
        """Places from one window to the next."""
        return self[3:6]

    @property
    def pad(self) -> tuple[int, int, int]:
        """Places before the volume."""
        return self[6:9]

    @property
    def apart(self) -> tuple[int, int, int]:
        """Places from one of a window to the next."""
        return self[9:12]

    @property
    def area(self) -> int:
        """Places of one window."""
        return self.size_d * self.size_h * self.size_w


def triple(description: str, *, lengths: Sequence[int] = (3,), **options: Any) -> dict[str, Any]:
    """The schema of a whole number for all axes, or a list of one for each."""
    schema = pair(description, **options)
    one, both, *words = schema["anyOf"]
    schema["anyOf"] = [one, *({**both, "minItems": count, "maxItems": count} for count in lengths), *words]
    return schema


SIZES = {
    "stride": triple("Places between neighbouring windows.", default=1, minimum=1),
    "pad": triple(
        "Zeros round the volume: for each axis, or [front, back, top, bottom, left, right].", lengths=(3, 6), default=0
    ),
    "dilation": triple("Places from one of a window to the next.", default=1, minimum=1),
}


def triple_of(value: int | Sequence[int]) -> tuple[int, int, int]:
    """Depth, height and width of an attribute that is one number or three."""
    return (value, value, value) if isinstance(value, int) else (value[0], value[1], value[2])


def ends_of(value: int | Sequence[int]) -> list[tuple[int, int]]:
    """Padding before and after each axis."""
    if isinstance(value, int) or len(value) == 3:
        return [(one, one) for one in triple_of(value)]
    return [(value[place], value[place + 1]) for place in (0, 2, 4)]


def check_volume(x: Tensor) -> None:
    """Raises LayerError where x has not three axes between batch and channels."""
    if len(x.shape) != 5:
        raise LayerError(
            f"the input must be of shape (batch, depth, height, width, channels), got {x.shape}",
            "give the network's input the shape [frames, height, width, channels]",
        )


def volume_of(attrs: Any, x: Tensor, *, inside: bool = False) -> tuple[Volume, tuple[int, ...]]:
    """The windows over input x, and how many there are along each axis.

    ``inside`` drops those that start beyond the far edges, as pooling does. Raises LayerError where none fits.
    """
    check_volume(x)
    size = x.shape[1:4] if attrs.size == WHOLE else triple_of(attrs.size)
    stride, apart, ends, out = triple_of(attrs.stride), triple_of(attrs.dilation), ends_of(attrs.pad), []
    for axis, name in enumerate(AXES):
        (before, after), length, reach = ends[axis], x.shape[1 + axis], (size[axis] - 1) * apart[axis] + 1
        room = length + before + after - reach
        if room < 0:
            told = f"a window that reaches over {reach} does not fit the input's {name} of {length} with its padding"
            raise LayerError(told, "make size smaller, or pad more", "size")
        if inside and before >= reach:
            raise LayerError(f"a window would lie in padding of {name} alone", "pad by less than the size", "pad")
        count = (-(-room // stride[axis]) if attrs.rounding == "ceil" else room // stride[axis]) + 1
        out.append(min(count, -(-(length + before) // stride[axis])) if inside else count)
    counted = ends if getattr(attrs, "count_include_pad", False) else [(0, 0)] * 3
    befores, afters = zip(*counted, strict=True)
    return Volume(*size, *stride, *(before for before, _ in ends), *apart, *befores, *afters), tuple(out)


def reads_some(volume: Volume, out: Sequence[int], x: Tensor) -> bool:
    """Whether each window has a place inside the volume."""
    return all_read(zip(out, volume.stride, volume.pad, volume.size, volume.apart, x.shape[1:4], strict=True))


def onnx_volume(volume: Volume, out: Sequence[int], x: Tensor) -> dict[str, list[int]]:
    """As attributes of ONNX's Conv and pools: what hangs over the edge is padding there."""
    axes = zip(out, volume.stride, volume.size, volume.apart, x.shape[1:4], volume.pad, strict=True)
    ends = [max(0, (n - 1) * step + (size - 1) * far + 1 - length - pad) for n, step, size, far, length, pad in axes]
    rest = {"strides": list(volume.stride), "dilations": list(volume.apart)}
    return {"kernel_shape": list(volume.size), "pads": [*volume.pad, *ends], **rest}


def torch_padded(volume: Volume, out: Sequence[int], x: Tensor, value: str, fill: str = "") -> str:
    """PyTorch code of a value, (N, C, D, H, W), with the padding that its windows read."""
    front, top, left, back, bottom, right = onnx_volume(volume, out, x)["pads"]
    sides = (left, right, top, bottom, front, back)
    return f"F.pad({value}, {sides}{fill})" if any(sides) else value


def torch_sums(volume: Volume, value: str, channels: int) -> str:
    """PyTorch code of the sums over windows of each channel, by a convolution with ones."""
    ones = f"torch.ones({channels}, 1, {volume.size_d}, {volume.size_h}, {volume.size_w})"
    return f"F.conv3d({value}, {ones}, stride={volume.stride}, dilation={volume.apart}, groups={channels})"


@device
def element5(index, array):
    """The five indices of an element."""
    pixel, c = index // array.shape[4], index % array.shape[4]
    row, w = pixel // array.shape[3], pixel % array.shape[3]
    plane, h = row // array.shape[2], row % array.shape[2]
    return plane // array.shape[1], plane % array.shape[1], h, w, c


@device
def window_at(place, tap, stride, pad, apart, count):
    """The window of an axis whose ``tap``-th place is that one; -1 where there is none."""
    start = place + pad - tap * apart
    return start // stride if start >= 0 and start % stride == 0 and start // stride < count else -1


@device
def places_counted(volume, od, oh, ow, x):
    """How many places the average of a window is over."""
    front = od * volume.stride_d - volume.pad_d + volume.before_d
    top = oh * volume.stride_h - volume.pad_h + volume.before_h
    left = ow * volume.stride_w - volume.pad_w + volume.before_w
    a, b = taps(front, volume.size_d, volume.apart_d, x.shape[1] + volume.before_d + volume.after_d)
    c, d = taps(top, volume.size_h, volume.apart_h, x.shape[2] + volume.before_h + volume.after_h)
    e, f = taps(left, volume.size_w, volume.apart_w, x.shape[3] + volume.before_w + volume.after_w)
    return (b - a) * (d - c) * (f - e)
