"""Chunks of a batch whose weight gradients are summed apart (split batch): so many workers have something to do.

How a batch is cut follows from its size alone, so that neither the team's size nor the order of blocks changes a bit.
"""

CHUNKS = 16
"""Chunks of a large batch."""


def chunk_images(batch: int) -> int:
    """Images of one chunk; the last may have fewer."""
    return -(-batch // CHUNKS)


def chunks(batch: int) -> int:
    """Chunks of a batch."""
    return -(-batch // chunk_images(batch))


def block_of_images(t) -> int:
    """Images of a call of a CPU kernel: about 65536 elements of x."""
    return max(1, 65536 * t.x.shape[0] // t.x.size)
