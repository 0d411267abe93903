"""Mean over an image's pixels: what the layer is in a line, and where it is from (authors and year)."""

from netspec.plugin import Layer, LayerError, Tensor, Workspace, backward, cuda, forward, register

CHANNELS, ROWS = 32, 8
"""Threads of a block on GPUs: neighbours read neighbouring channels, each row of threads other pixels."""


def blocks(t):
    """A block for every 32 channels of an image: how many in x, how many in y."""
    return -(-t.y.shape[1] // CHANNELS), t.y.shape[0]


@register("my_layer")
class MyLayer(Layer):
    """y[n, c] = mean of x[n, h, w, c] over h and w"""

    channelwise = True  # channel c of y depends on channel c of x alone: each device can have some of them
    examples = ({"attrs": {}, "inputs": [(2, 3, 5, 4)]}, {"attrs": {}, "inputs": [(3, 9, 7, 37)]})

    def outputs(self, x):
        """(N, H, W, C) becomes (N, C)."""
        if len(x.shape) != 4:
            raise LayerError(f"the input must be images (batch, height, width, channels), got {x.shape}")
        return Tensor((x.shape[0], x.shape[3]), x.dtype)

    # Numbers that kernels ask for by name. A factor is better than a count to divide by: float32 / int is float64.
    def scalars(self, t, index=None):
        return {"share": t.y.size / t.x.size}

    # A scratch array for each thread of a team of CPUs: sums are float32 also where x and y are stored as bfloat16.
    def workspace(self, t, variant, direction):
        return {"sums": Workspace(t.y.shape[1:], per="member")} if direction == "forward" else {}

    # Sums are taken in a fixed order, without atomics: any team of threads gives the same bits. Here a position of the
    # pass is an image (axes=0), and a call does those from start to stop.

    @forward("cpu", over="x", axes=0, writes="y")
    def forward_cpu(start, stop, x, y, sums, share):
        for n in range(start, stop):
            sums[:] = 0.0
            for h in range(x.shape[1]):
                for w in range(x.shape[2]):
                    for c in range(x.shape[3]):
                        sums[c] += x[n, h, w, c]
            for c in range(x.shape[3]):
                y[n, c] = sums[c] * share

    # Without axes and grid a pass is flat: positions are the elements of d_x, which has one axis then.

    @backward("cpu", over="d_x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x, share):
        channels = dy.shape[1]
        pixels = d_x.size // dy.size
        for i in range(start, stop):
            d_x[i] = share * dy[i // channels // pixels, i % channels]

    # A tree in shared memory. Every thread reaches every barrier, those without a channel too.

    @forward("cuda", over="x", grid=blocks, threads=(CHANNELS, ROWS), writes="y")
    def forward_cuda(x, y, share):
        sums = cuda.shared.array((ROWS, CHANNELS), x.dtype)
        lane, row, n = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.y
        c = cuda.blockIdx.x * CHANNELS + lane
        total = 0.0
        if c < x.shape[3]:
            for h in range(row, x.shape[1], ROWS):
                for w in range(x.shape[2]):
                    total += x[n, h, w, c]
        sums[row, lane] = total
        half = ROWS // 2
        while half > 0:
            cuda.syncthreads()
            if row < half:
                sums[row, lane] += sums[row + half, lane]
            half //= 2
        if row == 0 and c < x.shape[3]:
            y[n, c] = share * sums[0, lane]

    @backward("cuda", over="d_x", writes="d_x")
    def backward_cuda(dy, d_x, share):
        i = cuda.grid(1)
        if i < d_x.size:
            channels = dy.shape[1]
            pixels = d_x.size // dy.size
            d_x[i] = share * dy[i // channels // pixels, i % channels]
