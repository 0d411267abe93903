"""Dense layers on CPUs, the plain kernels: one multiplication after the other."""

from netspec.layers._cpu import dense_gemm
from netspec.layers._dense_sizes import Sizes, sizes_of
from netspec.plugin import Variant, Workspace, backward, forward


def _workspace(layer, t, direction):
    """Sums of an image, which are float32 whatever is stored."""
    return {"sums": Workspace(t.y.shape[1:], per="member")} if direction == "forward" else {}


def _scalars(layer, t):
    """The sizes of the product, which all kernels take."""
    return {"sizes": sizes_of(t)}


@forward("cpu", over="y", axes=0, writes="y")
def forward_cpu(start, stop, x, weight, y, sums, sizes: Sizes):
    depth, share = sizes.depth, sizes.units // sizes.groups
    inputs = x.reshape(sizes.batch, sizes.pixels, depth * sizes.groups)
    weights = weight.reshape(sizes.pixels, depth, sizes.units)
    for n in range(start, stop):
        sums[:] = 0
        for p in range(sizes.pixels):
            for c in range(depth * sizes.groups):
                value, g = inputs[n, p, c], c // depth
                for u in range(g * share, (g + 1) * share):
                    sums[u] += value * weights[p, c - g * depth, u]
        y[n] = sums


@backward("cpu", over="d_x", axes=0, writes="d_x")
def d_x_cpu(start, stop, weight, dy, d_x, sizes: Sizes):
    depth, share = sizes.depth, sizes.units // sizes.groups
    gradient = d_x.reshape(sizes.batch, sizes.pixels, depth * sizes.groups)
    weights = weight.reshape(sizes.pixels, depth, sizes.units)
    for n in range(start, stop):
        for p in range(sizes.pixels):
            for c in range(depth * sizes.groups):
                g = c // depth
                total = 0.0
                for u in range(g * share, (g + 1) * share):
                    total += dy[n, u] * weights[p, c - g * depth, u]
                gradient[n, p, c] = total


@backward("cpu", over="d_weight", block=dense_gemm.row_block, writes="d_weight")
def d_weight_cpu(start, stop, x, dy, d_weight, sizes: Sizes):
    depth, units, share = sizes.depth, sizes.units, sizes.units // sizes.groups
    inputs, gradients = x.reshape(sizes.batch, sizes.pixels, depth * sizes.groups), dy.reshape(sizes.batch, units)
    for row in range(start // units, stop // units):
        p, c = row // depth, row % depth
        total = d_weight[row * units : (row + 1) * units]
        total[:] = 0
        for n in range(sizes.batch):
            for u in range(units):
                total[u] += inputs[n, p, u // share * depth + c] * gradients[n, u]


VARIANT = Variant(
    "plain", kernels=(forward_cpu, d_x_cpu, d_weight_cpu, *dense_gemm.BIAS), workspace=_workspace, scalars=_scalars
)
