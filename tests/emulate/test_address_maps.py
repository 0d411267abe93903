"""Where TMA puts a box and wgmma looks for an operand, against tables of the PTX ISA: a description of its own."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
from emulated import get, kernel, put

from netspec.emulate import Memory, Module, launch
from netspec.emulate.instructions.matrix_descriptors import turned_units, units
from netspec.emulate.map_encoding import encode

LINES = {
    0: ("01234567",),
    32: ("01234567", "10325476"),
    64: ("01234567", "10325476", "23016745", "32107654"),
    128: ("01234567", "10325476", "23016745", "32107654", "45670123", "54761032", "67452301", "76543210"),
}
"""PTX ISA 5.5.6, swizzling modes: in which order 16-byte chunks lie in one 128-byte line after the other."""
ACROSS = {
    (0, "K"): (((8, None), (1, 2)), (("T", "stride"), (1, "leading"))),
    (32, "K"): (((8, None), (2,)), (("2T", "stride"), ("T",))),
    (64, "K"): (((8, None), (2,)), (("4T", "stride"), ("T",))),
    (128, "K"): (((8, None), (2,)), (("8T", "stride"), ("T",))),
    (0, "MN"): (((1, None), (8, None)), (("T", "stride"), ("T", "leading"))),
    (32, "MN"): (((2, None), (8, None)), (("T", "leading"), ("2T", "stride"))),
    (64, "MN"): (((4, None), (8, None)), (("T", "leading"), ("4T", "stride"))),
    (128, "MN"): (((8, None), (8, None)), (("T", "leading"), ("8T", "stride"))),
}
"""PTX ISA 9.7.15.5.1.2, canonical layouts: of an operand's two axes (MN, K) sizes and strides, T being 16 bytes.

K-major, the axes count lines and chunks of 16 bytes; MN-major, chunks of 16 bytes and terms. None: any number.
"""


def lying(place, swizzle):
    """Where a byte lies whose address is that without swizzling."""
    line, chunk, byte = place // 128, place // 16 % 8, place % 16
    order = LINES[swizzle][line % len(LINES[swizzle])]
    return 128 * line + 16 * order.index(str(chunk)) + byte


def _along(axis, number, offsets):
    """A place along one axis of a canonical layout: mixed radix, the first size the fastest."""
    place = 0
    for size, stride in zip(*axis, strict=True):
        step = offsets.get(stride) or (16 * int(str(stride).removesuffix("T") or 1))
        place += (number % size if size else number) * step
        number = number // size if size else 0
    return place


@pytest.mark.parametrize(("swizzle", "major"), ACROSS)
@pytest.mark.parametrize("seed", range(3))
def test_operands_lie_as_the_canonical_layouts_say(swizzle, major, seed):
    random = np.random.default_rng(seed)
    pattern = 8 * (swizzle or 16)
    offsets = {name: pattern * int(random.integers(1, 9)) for name in ("leading", "stride")}
    start, lines = pattern * int(random.integers(2, 9)), 8 * int(random.integers(1, 9))
    mode = {0: 0, 128: 1, 64: 2, 32: 3}[swizzle]
    word = mode << 62 | offsets["stride"] >> 4 << 32 | offsets["leading"] >> 4 << 16 | start >> 4
    sizes, strides = ACROSS[swizzle, major]
    counts = (lines, 2) if major == "K" else (lines // 8, 16)
    axes = [
        [_along(axis, number, offsets) for number in range(count)]
        for *axis, count in zip(sizes, strides, counts, strict=True)
    ]
    wanted = np.array([[lying(start + one + two, swizzle) for two in axes[1]] for one in axes[0]])
    found = units(word, lines) if major == "K" else turned_units(word, lines).T
    assert np.array_equal(found, wanted)


def fetched(encoding, at, taps, nbytes, array):
    """What a copy of a box leaves in shared memory; ``encoding`` makes the map for the array's address."""
    rank, memory = len(at), Memory(1 << 22)
    place = put(memory, array)
    given = [put(memory, encoding(place)), memory.allocate(nbytes)]
    more = f", {{{', '.join(map(str, taps))}}}" if taps else ""
    mode = "im2col" if taps else "tile"
    load = f"cp.async.bulk.tensor.{rank}d.shared::cluster.global.{mode}.mbarrier::complete_tx::bytes"
    body = f"""
    mov.u32 %r2, dynamic; add.u32 %r3, %r2, {nbytes};
    setp.ne.u32 %p1, %r1, 0; @%p1 bra MEET;
    fence.proxy.tensormap::generic.acquire.gpu [%rd1], 128;
    mbarrier.init.shared::cta.b64 [%r3], 1; fence.mbarrier_init.release.cluster;
    mbarrier.arrive.expect_tx.shared::cta.b64 %rd10, [%r3], {nbytes};
    {load} [%r2], [%rd1, {{{', '.join(map(str, at))}}}], [%r3]{more};
    MEET: bar.sync 0;
    AGAIN: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r3], 0;
    @!%p2 bra AGAIN;
    shl.b32 %r4, %r1, 2;
    COPY: setp.ge.u32 %p3, %r4, {nbytes}; @%p3 bra DONE;
    add.u32 %r5, %r2, %r4; ld.shared.u32 %r6, [%r5];
    cvt.u64.u32 %rd3, %r4; add.u64 %rd3, %rd3, %rd2; st.global.u32 [%rd3], %r6;
    add.u32 %r4, %r4, 512; bra COPY;
    DONE:
    """
    text = kernel(body, 2, ".extern .shared .align 1024 .b8 dynamic[];")
    packed = [struct.pack("<Q", one) for one in given]
    launch(Module(text), "k", (1, 1, 1), (128, 1, 1), nbytes + 8, packed, memory)
    return get(memory, given[1], (nbytes,), np.uint8)


def _swizzled(rows, swizzle):
    """Bytes as shared memory holds them, from a box's rows."""
    plain = np.ascontiguousarray(rows).view(np.uint8).reshape(-1)
    places = [lying(place, swizzle) for place in range(plain.size)]
    out = np.empty_like(plain)
    out[places] = plain
    return out


TILES = [(2, 2, 128), (2, 4, 128), (3, 2, 64), (4, 4, 32), (5, 2, 0), (3, 4, 0), (2, 2, 32), (1, 4, 0)]
"""Axes, bytes of an element, swizzle."""


@pytest.mark.parametrize(("rank", "itemsize", "swizzle"), TILES)
def test_tiles(rank, itemsize, swizzle):
    random = np.random.default_rng(rank * 100 + swizzle)
    inner = (swizzle or 16 * int(random.integers(1, 4))) // itemsize
    shape = (*(int(one) for one in random.integers(3, 7, rank - 1)), 16 // itemsize * int(random.integers(2, 10)))
    box = (*(int(one) for one in random.integers(1, 5, rank - 1)), inner)
    array = random.integers(1, 1 << 8 * itemsize, shape).astype(f"u{itemsize}")
    at = [int(random.integers(-size, extent + 1)) for size, extent in zip(box, shape, strict=True)]
    wanted = np.zeros(box, array.dtype)
    for place in itertools.product(*map(range, box)):
        source = tuple(a + b for a, b in zip(at, place, strict=True))
        if all(0 <= one < extent for one, extent in zip(source, shape, strict=True)):
            wanted[place] = array[source]
    strides = array.strides[-2::-1] if rank > 1 else ()
    found = fetched(
        lambda place: encode(place, itemsize, shape[::-1], strides, box[::-1], swizzle),
        at[::-1], (), wanted.nbytes, array,
    )  # fmt: skip
    assert np.array_equal(found, _swizzled(wanted, swizzle))


@pytest.mark.parametrize("channels", [64, 16])
@pytest.mark.parametrize(
    ("taps", "pad", "stride"), [((3, 3), (1, 1), (1, 1)), ((5, 2), (2, 0), (2, 1)), ((1, 3), (0, 2), (1, 2))]
)
def test_windows(channels, taps, pad, stride):
    """Any tap's box is that tap of so many windows, in raster order, image after image; behind the last are zeros."""
    random = np.random.default_rng(7)
    images, height, width, depth, pixels = 3, 7, 6, 72, 40
    array = random.integers(1, 1 << 16, (images, height, width, depth)).astype(np.uint16)
    lower = (-pad[1], -pad[0])
    upper = (pad[1] - taps[1] + 1, pad[0] - taps[0] + 1)
    encoding = lambda place: encode(  # noqa: E731
        place, 2, array.shape[::-1], array.strides[-2::-1], (channels, pixels), 2 * channels, lower, upper, stride[::-1]
    )
    windows = [
        (image, y, x)
        for image in range(images)
        for y in range(-pad[0], height + pad[0] - taps[0] + 1, stride[0])
        for x in range(-pad[1], width + pad[1] - taps[1] + 1, stride[1])
    ]
    padded = np.pad(array, ((0, 1), (8, 8), (8, 8), (0, channels)))
    for number, tap in ((0, (0, 0)), (5, (taps[0] - 1, taps[1] - 1)), (len(windows) - 7, (0, taps[1] - 1))):
        first = int(random.integers(0, depth))
        wanted = np.zeros((pixels, channels), np.uint16)
        for row, (image, y, x) in enumerate(windows[number : number + pixels]):
            wanted[row] = padded[image, y + tap[0] + 8, x + tap[1] + 8, first : first + channels]
        image, y, x = windows[number]
        found = fetched(encoding, (first, x, y, image), tap[::-1], wanted.nbytes, array)
        assert np.array_equal(found, _swizzled(wanted, 2 * channels))
