"""Where the windows of conv, pool and local lie: size, stride, padding and rounding of attributes as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netspec.plugin import LayerError, Tensor, device


@dataclass(frozen=True)
class Window:
    """Windows over an image; pairs are (height, width). Window i of an axis starts at ``i * stride - pad``."""

    size: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    out: tuple[int, int]

    @property
    def area(self) -> int:
        """Pixels of one window."""
        return self.size[0] * self.size[1]

    @property
    def scalars(self) -> dict[str, int]:
        """The numbers by the names under which kernels take them."""
        names = "size_h size_w stride_h stride_w pad_top pad_left".split()
        return dict(zip(names, (*self.size, *self.stride, *self.pad), strict=True))


def window_of(attrs: Any, x: Tensor, *, inside: bool = False) -> Window:
    """The windows over input x. ``inside`` drops those that start beyond its far edges, as pooling does.

    Raises LayerError where x is no image or no window fits.
    """
    if len(x.shape) != 4:
        raise LayerError(
            f"the input must be images of shape (batch, height, width, channels), got {x.shape}",
            "put the layer before the first dense or flatten layer",
        )
    size, stride, pad = _pair(attrs.size), _pair(attrs.stride), _sides(attrs.pad)
    if inside and any(before >= length for before, length in zip((pad[0], pad[2]), size, strict=True)):
        raise LayerError(f"a window of {size} would lie in padding of {pad} alone", "pad by less than the size", "pad")
    out = []
    for axis, name in enumerate(("height", "width")):
        before, after = pad[2 * axis : 2 * axis + 2]
        room = x.shape[1 + axis] + before + after - size[axis]
        if room < 0:
            raise LayerError(
                f"a window of {size} (height, width) does not fit the input's {name} of {x.shape[1 + axis]}, which is "
                f"{room + size[axis]} with its padding",
                "make size smaller, pad more, or take away a layer with a stride before it",
                "size",
            )
        count = (-(-room // stride[axis]) if attrs.rounding == "ceil" else room // stride[axis]) + 1
        out.append(min(count, -(-(x.shape[1 + axis] + before) // stride[axis])) if inside else count)
    return Window(size, stride, (pad[0], pad[2]), (out[0], out[1]))


def image_groups(channels: int, outputs: int, groups: int, what: str) -> int:
    """Input channels of one group. Raises LayerError where groups does not divide channels and outputs."""
    for count, name in ((channels, "input channels"), (outputs, what)):
        if count % groups:
            raise LayerError(
                f"{count} {name} cannot be divided into {groups} groups", f"make {name} a multiple of groups", "groups"
            )
    return channels // groups


def initial_bias(attrs: Any) -> Mapping[str, Any]:
    """The initialiser of a bias."""
    return {"type": "constant", "value": attrs.bias_init}


@device
def clip(position, stride, pad, size, length):
    """The pixels [first, stop) of a window that lie inside the image."""
    start = position * stride - pad
    return max(start, 0), min(start + size, length)


@device
def covering(pixel, stride, pad, size, count):
    """The windows [first, stop) that a pixel lies in."""
    return max(pixel + pad - size + stride, 0) // stride, min((pixel + pad) // stride + 1, count)


@device
def element(index, array):
    """The four indices of an element, which lie beyond the batch where there is none."""
    pixel, c = index // array.shape[3], index % array.shape[3]
    image = array.shape[1] * array.shape[2]
    return pixel // image, pixel // array.shape[2] % array.shape[1], pixel % array.shape[2], c


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _sides(value: int | Sequence[int]) -> tuple[int, int, int, int]:
    """Padding as (top, bottom, left, right)."""
    if isinstance(value, int):
        return value, value, value, value
    if len(value) == 2:
        return value[0], value[0], value[1], value[1]
    return value[0], value[1], value[2], value[3]
