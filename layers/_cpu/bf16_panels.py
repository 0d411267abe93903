"""Predictions of a few images by dense layers on CPUs: weights in bfloat16, widened in registers, at memory speed.

Such products are bound by reading the weights, so that half the bytes are half the time, whether or not a processor
multiplies bfloat16. Before the first prediction weights are packed in panels of units, term after term, of which one
streams through a core while all its sums stay in registers: no instruction but the loads, a shift or a mask, and the
products. ``bf16_panels`` takes activations that are stored as bfloat16; ``bf16_weights`` float32, where a spec asks for
bf16 on a CPU that does not store them.
"""

from math import prod

from netspec.layers._cpu import bf16_dense, dense_gemv
from netspec.layers._dense_sizes import Sizes
from netspec.plugin import Lazy, Variant, Workspace, device, forward

add_products = Lazy("netspec.layers._cpu.bf16_words", "add_products")
add_term = Lazy("netspec.layers._cpu.bf16_words", "add_term")

HALF = 32
"""Words of a term in a panel, pairs of bfloat16: each holds unit j of the panel and unit HALF + j."""
UNITS = 2 * HALF
STREAMS = 8
"""Parts of a panel's terms that are read side by side: a core fetches ahead in each, and one alone is 0.6 as fast."""
TERMS = 32
"""Terms of each part that all images are multiplied with before the next: 32 KiB."""
LEAST = 1 << 18
"""Weights from which on reading them is what takes time: fewer stay in a cache."""
ERROR = 2.0**-8
"""What rounding the weights costs: float32 results differ by less than this share of the largest."""


def _workspace(layer, t, direction):
    terms, units = prod(t.weight.shape[:-1]), t.y.shape[1]
    return {
        "words": Workspace((-(-units // UNITS), terms, UNITS), "bfloat16"),
        "start_row": Workspace((-(-units // UNITS) * UNITS,)),
        "sums": Workspace((t.x.shape[0] * UNITS,), per="member"),
    }


def _supports(layer, t):
    few, ungrouped = t.x.shape[0] <= dense_gemv.MOST_IMAGES, t.x.size // t.x.shape[0] == prod(t.weight.shape[:-1])
    return layer.phase == "predict" and few and ungrouped and t.weight.size >= LEAST


@device
def pack_term(weights, words):
    """One term of a panel; units beyond the last are zeros."""
    count = weights.size
    if count == UNITS:
        low, high = weights[:HALF], weights[HALF:]
        for j in range(HALF):
            words[2 * j], words[2 * j + 1] = low[j], high[j]
        return
    for j in range(HALF):
        words[2 * j] = weights[j] if j < count else 0.0
        words[2 * j + 1] = weights[HALF + j] if HALF + j < count else 0.0


@forward("cpu", over="words", axes=0, writes="words")
def pack_words(start, stop, weight, words, sizes: Sizes):
    rows = weight.reshape(words.shape[1], sizes.units)
    for panel in range(start, stop):
        first, last = panel * UNITS, min((panel + 1) * UNITS, sizes.units)
        for k in range(words.shape[1]):
            pack_term(rows[k, first:last], words[panel, k])


@forward("cpu", over="y", axes=1, block=UNITS, writes="y")
def forward_words(start, stop, x, words, start_row, sums, y):
    inputs, flat, terms, batch = x.reshape(x.size), words.reshape(words.size), words.shape[1], y.shape[0]
    part, panel = terms // STREAMS, start // UNITS * terms * HALF
    for n in range(batch):
        sums[n * UNITS : (n + 1) * UNITS] = start_row[start : start + UNITS]
    most = part if batch == 1 else TERMS
    for k in range(0, part, max(most, 1)):
        for n in range(batch):
            count = min(most, part - k)
            add_products(sums, flat, inputs, (n * UNITS, panel + k * HALF, n * terms + k, count, part))
    for n in range(batch):
        k = part * STREAMS
        add_term(sums, flat, inputs, (n * UNITS, panel + k * HALF, n * terms + k, terms - k, 0))
    for n in range(batch):
        for u in range(start, stop):
            y[n, u] = sums[n * UNITS + u - start]


_KERNELS = (pack_words, bf16_dense.start_from_bias, bf16_dense.ZEROS, forward_words)
VARIANTS = (
    Variant(
        "bf16_panels",
        kernels=_KERNELS,
        supports=lambda layer, t: t.x.dtype == "bfloat16" and _supports(layer, t),
        workspace=_workspace,
    ),
    Variant(
        "bf16_weights",
        kernels=_KERNELS,
        supports=lambda layer, t: t.x.dtype == "float32" and _supports(layer, t),
        workspace=_workspace,
        bound=ERROR,
        capability="weights",
    ),
)
