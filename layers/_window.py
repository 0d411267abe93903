"""Where the windows of conv, pool and local lie: size, stride, padding and rounding of attributes as plain numbers."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from netspec.plugin import LayerError, Tensor, device

WHOLE = "image"
"""The size of a window that is as large as the image."""


class Window(NamedTuple):
    """Windows over an image: window i of an axis starts at ``i * stride - pad``, and its pixels are ``dilation`` apart.

    Kernels take it as one argument.
    """

    size_h: int
    size_w: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    out_h: int
    out_w: int
    dilation_h: int = 1
    dilation_w: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a window; so for all pairs."""
        return self.size_h, self.size_w

    @property
    def stride(self) -> tuple[int, int]:
        """Pixels from one window to the next."""
        return self.stride_h, self.stride_w

    @property
    def pad(self) -> tuple[int, int]:
        """Rows above and columns left of the image."""
        return self.pad_top, self.pad_left

    @property
    def out(self) -> tuple[int, int]:
        """Windows along each axis."""
        return self.out_h, self.out_w

    @property
    def dilation(self) -> tuple[int, int]:
        """Pixels from one weight of a window to the next: 1 where none is left out."""
        return self.dilation_h, self.dilation_w

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns from a window's first pixel to its last, both counted."""
        return (self.size_h - 1) * self.dilation_h + 1, (self.size_w - 1) * self.dilation_w + 1

    @property
    def area(self) -> int:
        """Pixels of one window."""
        return self.size_h * self.size_w


def check_images(x: Tensor) -> None:
    """Raises LayerError where x is no image."""
    if len(x.shape) != 4:
        raise LayerError(
            f"the input must be images of shape (batch, height, width, channels), got {x.shape}",
            "put the layer before the first dense or flatten layer",
        )


def window_of(attrs: Any, x: Tensor, *, inside: bool = False) -> Window:
    """The windows over input x. ``inside`` drops those that start beyond its far edges, as pooling does.

    Raises LayerError where x is no image or no window fits.
    """
    check_images(x)
    size = x.shape[1:3] if attrs.size == WHOLE else attrs.size
    return _window(x.shape, size, attrs.stride, attrs.pad, getattr(attrs, "dilation", 1), attrs.rounding, inside)


_Sizes = int | tuple[int, ...]


@functools.lru_cache(1024)  # plans ask for the same windows many times
def _window(
    image: tuple[int, ...], sizes: _Sizes, strides: _Sizes, pads: _Sizes, dilations: _Sizes, rounding: str, inside: bool
) -> Window:
    size, stride, pad, dilation = pair_of(sizes), pair_of(strides), sides_of(pads), pair_of(dilations)
    reach = tuple((length - 1) * apart + 1 for length, apart in zip(size, dilation, strict=True))
    if inside and any(before >= length for before, length in zip((pad[0], pad[2]), reach, strict=True)):
        raise LayerError(f"a window of {reach} would lie in padding of {pad} alone", "pad by less than the size", "pad")
    out = []
    for axis, name in enumerate(("height", "width")):
        before, after = pad[2 * axis : 2 * axis + 2]
        room = image[1 + axis] + before + after - reach[axis]
        if room < 0:
            raise LayerError(
                f"a window of {reach} (height, width) does not fit the input's {name} of {image[1 + axis]}, which is "
                f"{room + reach[axis]} with its padding",
                "make size smaller, pad more, or take away a layer with a stride before it",
                "size",
            )
        count = (-(-room // stride[axis]) if rounding == "ceil" else room // stride[axis]) + 1
        out.append(min(count, -(-(image[1 + axis] + before) // stride[axis])) if inside else count)
    return Window(*size, *stride, pad[0], pad[2], out[0], out[1], *dilation)


def transposed_window_of(attrs: Any, x: Tensor) -> tuple[Window, tuple[int, int]]:
    """The windows over the output of a transposed convolution, one for each pixel of x, and its height and width.

    Raises LayerError where x is no image or nothing is left of the output.
    """
    check_images(x)
    size, stride, dilation, extra = (
        pair_of(one) for one in (attrs.size, attrs.stride, attrs.dilation, attrs.output_pad)
    )
    if any(one >= max(step, apart) for one, step, apart in zip(extra, stride, dilation, strict=True)):
        raise LayerError(f"output_pad of {extra} is no less than the stride of {stride}", attr="output_pad")
    pad, out = sides_of(attrs.pad), []
    for axis, name in enumerate(("height", "width")):
        reach = (size[axis] - 1) * dilation[axis] + 1
        out.append((x.shape[1 + axis] - 1) * stride[axis] + reach - sum(pad[2 * axis : 2 * axis + 2]) + extra[axis])
        if out[axis] < 1:
            raise LayerError(f"padding of {pad} leaves nothing of the output's {name}", "pad less", "pad")
    window = Window(*size, *stride, pad[0], pad[2], x.shape[1], x.shape[2], *dilation)
    return window, (out[0], out[1])


def reads_some(window: Window, x: Tensor) -> bool:
    """Whether each window has a pixel inside the image: dilated ones may reach over it."""
    return all_read(zip(window.out, window.stride, window.pad, window.size, window.dilation, x.shape[1:3], strict=True))


def all_read(axes: Iterable[tuple[int, int, int, int, int, int]]) -> bool:
    """Whether no window is empty along any axis, each of (windows, stride, pad, size, dilation, length).

    A window that begins inside is none, so what is left are those that begin before, and the last.
    """
    return all(
        first < end
        for out, stride, pad, size, apart, length in axes
        for i in (*range(min(out, -(-pad // stride))), out - 1)
        for first, end in (taps(i * stride - pad, size, apart, length),)
    )


class Counted(NamedTuple):
    """Which rows and columns an average counts, padding among them or not: [top, bottom) and [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


def counted_of(attrs: Any, x: Tensor) -> Counted:
    """What averages over input x are over."""
    top, bottom, left, right = sides_of(attrs.pad) if attrs.count_include_pad else (0, 0, 0, 0)
    return Counted(-top, x.shape[1] + bottom, -left, x.shape[2] + right)


def onnx_window(window: Window, x: Tensor) -> dict[str, list[int]]:
    """The windows over input x as attributes of ONNX's Conv and pools: what hangs over the edge is padding there."""
    ends = [
        max(0, (out - 1) * stride + reach - length - pad)
        for out, stride, reach, length, pad in zip(
            window.out, window.stride, window.reach, x.shape[1:3], window.pad, strict=True
        )
    ]
    apart = {"dilations": list(window.dilation)} if window.dilation != (1, 1) else {}
    return {"kernel_shape": list(window.size), "strides": list(window.stride), "pads": [*window.pad, *ends], **apart}


@device
def taps(start, size, apart, length):
    """Of places start, start + apart, ... the range [first, stop) of those that lie in [0, length)."""
    return max(0, -(start // apart)), min(size, -((start - length) // apart))


def torch_padding(window: Window, x: Tensor, value: str) -> tuple[str, tuple[int, int] | None]:
    """The value that a module of PyTorch reads, and the padding that it adds itself: the same at both ends of an axis.

    Where that would not give as many windows, the value is padded before.
    """
    if torch_count(window, x) == window.out:
        return value, window.pad if any(window.pad) else None
    top, left, bottom, right = onnx_window(window, x)["pads"]
    return f"F.pad({value}, ({left}, {right}, {top}, {bottom}))", None


def torch_count(window: Window, x: Tensor, ceil: bool = False) -> tuple[int, int]:
    """Windows along each axis as PyTorch counts them, with the padding above and left of the image at all its sides."""
    counts = []
    for length, reach, stride, pad in zip(x.shape[1:3], window.reach, window.stride, window.pad, strict=True):
        room = length + 2 * pad - reach
        count = (-(-room // stride) if ceil else room // stride) + 1
        counts.append(count - 1 if ceil and (count - 1) * stride >= length + pad else count)
    return counts[0], counts[1]


def torch_conv(code, channels: int, attrs, window: Window, padding) -> str:
    """nn.Conv2d over these windows."""
    options = {"stride": None if window.stride == (1, 1) else window.stride, "padding": padding}
    options |= {"dilation": None if window.dilation == (1, 1) else window.dilation}
    options |= {"groups": attrs.groups if (attrs.groups or 1) > 1 else None, "bias": None if attrs.bias else False}
    return code.module("nn.Conv2d", channels, attrs.filters, window.size, **options)


@device
def clip(window, oh, ow, x):
    """Rows [top, bottom) and columns [left, right) of window (oh, ow) that lie inside the image."""
    top, left = oh * window.stride_h - window.pad_top, ow * window.stride_w - window.pad_left
    return max(top, 0), min(top + window.size_h, x.shape[1]), max(left, 0), min(left + window.size_w, x.shape[2])


@device
def clip_apart(window, oh, ow, x):
    """The same of dilated windows: every ``dilation``-th row from top on, below bottom, and column from left on."""
    top, left = oh * window.stride_h - window.pad_top, ow * window.stride_w - window.pad_left
    above, below = taps(top, window.size_h, window.dilation_h, x.shape[1])
    before, after = taps(left, window.size_w, window.dilation_w, x.shape[2])
    apart_h, apart_w = window.dilation_h, window.dilation_w
    return top + above * apart_h, top + below * apart_h, left + before * apart_w, left + after * apart_w


@device
def pixels_counted(window, oh, ow, counted):
    """How many pixels the average of window (oh, ow) is over."""
    top, left = oh * window.stride_h - window.pad_top, ow * window.stride_w - window.pad_left
    above, below = taps(top - counted.top, window.size_h, window.dilation_h, counted.bottom - counted.top)
    before, after = taps(left - counted.left, window.size_w, window.dilation_w, counted.right - counted.left)
    return (below - above) * (after - before)


@device
def covering_rows(window, ih, y):
    """The rows [above, below) of the windows that row ih of the image lies in."""
    h, reach = ih + window.pad_top, (window.size_h - 1) * window.dilation_h + 1
    return max(h - reach + window.stride_h, 0) // window.stride_h, min(h // window.stride_h + 1, y.shape[1])


@device
def covering_columns(window, iw, y):
    """The columns [before, after) of the windows that column iw of the image lies in."""
    w, reach = iw + window.pad_left, (window.size_w - 1) * window.dilation_w + 1
    return max(w - reach + window.stride_w, 0) // window.stride_w, min(w // window.stride_w + 1, y.shape[2])


@device
def place_in(window, ih, iw, oh, ow):
    """The place of pixel (ih, iw) in window (oh, ow), row by row, the padding counted."""
    return (ih - oh * window.stride_h + window.pad_top) * window.size_w + iw - ow * window.stride_w + window.pad_left


@device
def place_apart(window, ih, iw, oh, ow):
    """The same of dilated windows; -1 where the pixel lies between those of the window."""
    h, w = ih - oh * window.stride_h + window.pad_top, iw - ow * window.stride_w + window.pad_left
    inside = h % window.dilation_h == 0 and w % window.dilation_w == 0
    return h // window.dilation_h * window.size_w + w // window.dilation_w if inside else -1


@device
def element(index, array):
    """The four indices of an element, which lie beyond the batch where there is none."""
    pixel, c = index // array.shape[3], index % array.shape[3]
    image = array.shape[1] * array.shape[2]
    return pixel // image, pixel // array.shape[2] % array.shape[1], pixel % array.shape[2], c


def pair_of(value: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of an attribute that is one number or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def sides_of(value: int | Sequence[int]) -> tuple[int, int, int, int]:
    """Padding as (top, bottom, left, right)."""
    if isinstance(value, int):
        return value, value, value, value
    if len(value) == 2:
        return value[0], value[0], value[1], value[1]
    return value[0], value[1], value[2], value[3]
