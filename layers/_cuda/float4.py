"""CUDA threads that have a float4 of channels each: where they stand in images, and where that lies in memory.

Places are counted in 32 bits, and images are an axis of the grid: a thread divides once.
"""

from netspec.plugin import Lazy, cuda, device, quotient

np = Lazy("numpy")
COLUMNS, ROWS = 32, 4
THREADS = (COLUMNS, ROWS)
"""Threads of a block: float4s of channels along a row, a warp of them, and rows."""


def fits(x):
    """Whether such threads can work through images of this shape."""
    return x.shape[3] % 4 == 0 and x.shape[0] < 2**16 and x.size < 2**31


def blocks(t, rows, columns):
    """Blocks for so many pixels of each image: along their rows, down, and one image after the other."""
    return -(-columns * t.x.shape[3] // (4 * COLUMNS)), -(-rows // ROWS), t.x.shape[0]


@device
def place(channels):
    """Image, row, column and first channel of a thread."""
    four = np.int32(COLUMNS * cuda.blockIdx.x + cuda.threadIdx.x)
    column = quotient(four, np.int32(channels) >> 2)
    row = np.int32(ROWS * cuda.blockIdx.y + cuda.threadIdx.y)
    return cuda.blockIdx.z, row, column, np.int32(4 * four - column * channels)


@device
def image(array, n):
    """Where image n begins in the array's memory."""
    return np.int32(n * array.shape[1] * array.shape[2] * array.shape[3])


@device
def at(array, h, w, c):
    """Where a pixel's channel lies in an image; in memory, where c counts from the image's first one."""
    return np.int32(np.int32(np.int32(h * array.shape[2]) + w) * array.shape[3] + c)
