"""One slice of a tensor: a frame of a sequence."""

from math import prod

from netspec.plugin import Layer, LayerError, Tensor, backward, cuda, forward, integer, register

THREADS = 256


@register("select")
class Select(Layer):
    """y[n] = x[n, index]: of sequences of frames, (N, F, H, W, C), one frame, (N, H, W, C).

    It is torch's select(x, 1, index). Layers that follow see one image; towers for the frames ``share`` parameters.
    """

    attrs = {"index": integer("Which slice along the axis behind the batch, from 0.", minimum=0)}
    channelwise = True
    examples = (
        {"attrs": {"index": 1}, "inputs": [(2, 3, 2, 3, 4)]},
        {"attrs": {"index": 0}, "inputs": [(3, 2, 6)]},
        {"attrs": {"index": 3}, "inputs": [(2, 4, 3, 6)]},
        {"attrs": {"index": 0}, "inputs": [(2, 1, 2, 4)]},
    )

    def outputs(self, x):
        if len(x.shape) < 3:
            raise LayerError(f"select takes one of several slices, (N, F, ..., C), got {x.shape}")
        if self.attrs.index >= x.shape[1]:
            raise LayerError(f"there is no slice {self.attrs.index} among {x.shape[1]}, counted from 0", attr="index")
        return Tensor((x.shape[0], *x.shape[2:]), x.dtype)

    def onnx(self, nodes, t, x):
        """Gather of one slice."""
        if len(t.x.shape) == 5:
            return nodes.add("Gather", x, nodes.constant(self.attrs.index, "index"), axis=1)
        slices = nodes.channels_last(x, t.x)
        return nodes.channels_first(nodes.add("Gather", slices, nodes.constant(self.attrs.index, "index"), axis=1), t.y)

    def torch(self, code, t, x):
        """One slice."""
        if len(t.x.shape) == 5:
            return f"{x}[:, {self.attrs.index}]"
        return code.channels_first(f"{code.channels_last(x, t.x)}[:, {self.attrs.index}]", t.y)

    def scalars(self, t, index=None):
        return {"size": prod(t.y.shape[1:]), "count": t.x.shape[1]}

    @forward("cpu", over="y", writes="y")
    def forward_cpu(start, stop, x, y, size, count, index):
        source, i = x.reshape(x.size), start
        while i < stop:
            image = i // size
            run = min((image + 1) * size, stop) - i
            first = i + (image * (count - 1) + index) * size
            y[i : i + run] = source[first : first + run]
            i += run

    @backward("cpu", over="d_x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x, size, count, index):
        source, i = dy.reshape(dy.size), start
        while i < stop:
            piece = i // size
            run, image = min((piece + 1) * size, stop) - i, piece // count
            if piece - image * count == index:
                first = i - (piece - image) * size
                d_x[i : i + run] = source[first : first + run]
            else:
                d_x[i : i + run] = 0.0
            i += run

    @forward("cuda", over="y", writes="y", threads=THREADS, linear=True)
    def forward_cuda(x, y, size, count, index):
        i = cuda.grid(1)
        if i < y.size:
            y[i] = x[i + (i // size * (count - 1) + index) * size]

    @backward("cuda", over="d_x", writes="d_x", threads=THREADS, linear=True)
    def backward_cuda(dy, d_x, size, count, index):
        i = cuda.grid(1)
        if i < d_x.size:
            piece = i // size
            image = piece // count
            d_x[i] = dy[i - (piece - image) * size] if piece - image * count == index else 0.0
