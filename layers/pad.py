"""Rows and columns added round an image, or cut off: padding, cropping and slices."""

from netspec.layers._window import check_images
from netspec.plugin import Layer, LayerError, Tensor, cuda, device, forward, integer, number, register

THREADS = 256


@device
def pixel_behind(line, width, height, top, left, other_width, other_height):
    """Pixel of the other images at the place of pixel ``line``, both counted through the batch; -1 outside them."""
    row, column = line // width, line % width
    image, h, w = row // height, row % height - top, column - left
    inside = 0 <= h < other_height and 0 <= w < other_width
    return (image * other_height + h) * other_width + w if inside else -1


def side(name):
    """How many rows or columns at one side."""
    return integer(f"Pixels added {name}; less than 0: cut off.", default=0)


@register("pad")
class Pad(Layer):
    """y[n, h, w, c] = x[n, h - top, w - left, c], or ``value`` outside x

    Negative numbers cut off: {top: -2, bottom: -2} takes two rows from each end, a slice of the image. PyTorch's
    functional.pad of a constant.
    """

    attrs = {
        "top": side("above"),
        "bottom": side("below"),
        "left": side("at the left"),
        "right": side("at the right"),
        "value": number("What is added.", default=0.0),
    }
    channelwise = True
    backward_as = "itself"
    examples = (
        {"attrs": {"top": 1, "left": 2, "right": 1, "value": 0.5}, "inputs": [(2, 3, 4, 5)]},
        {"attrs": {"top": -1, "bottom": -2, "right": -1, "left": 1}, "inputs": [(2, 5, 4, 8)]},
    )

    def outputs(self, x):
        check_images(x)
        own = self.attrs
        for what, length, first, last in (("rows", 1, "top", "bottom"), ("columns", 2, "left", "right")):
            if min(getattr(own, first), 0) + min(getattr(own, last), 0) <= -x.shape[length]:
                raise LayerError(f"of {x.shape[length]} {what} none would be left", "cut off less", first)
        return Tensor(
            (x.shape[0], x.shape[1] + own.top + own.bottom, x.shape[2] + own.left + own.right, x.shape[3]), x.dtype
        )

    def other_attrs(self):
        """What was added is cut off, and the other way round."""
        return {name: -getattr(self.attrs, name) for name in ("top", "bottom", "left", "right")}

    def onnx(self, nodes, t, x):
        """Pad, by numbers of either sign."""
        own = self.attrs
        pads = nodes.constant([0, 0, own.top, own.left, 0, 0, own.bottom, own.right], "pads")
        return nodes.add("Pad", x, pads, nodes.constant(float(own.value), "value"))

    def torch(self, code, t, x):
        """F.pad."""
        own = self.attrs
        return f"F.pad({x}, ({own.left}, {own.right}, {own.top}, {own.bottom}), value={float(own.value)!r})"

    @forward("cpu", over="y", axes=(0, 1, 2), block=1024, writes="y")
    def pad_cpu(start, stop, x, y, top, left, value):
        depth = y.shape[3]
        pixels, out = x.reshape(-1, depth), y.reshape(-1, depth)
        for line in range(start, stop):
            at = pixel_behind(line, y.shape[2], y.shape[1], top, left, x.shape[2], x.shape[1])
            if at < 0:
                out[line] = value
            else:
                out[line] = pixels[at]

    @forward("cuda", over="y", axes=(0, 1, 2, 3), threads=THREADS, writes="y")
    def pad_cuda(x, y, top, left, value):
        i, depth = cuda.grid(1), y.shape[3]
        if i < y.size:
            at = pixel_behind(i // depth, y.shape[2], y.shape[1], top, left, x.shape[2], x.shape[1])
            y.flat[i] = x.flat[at * depth + i % depth] if at >= 0 else value
