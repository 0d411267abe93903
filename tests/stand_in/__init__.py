"""A stand-in for the CUDA driver: a libcuda.so.1 without a card, so that numba-cuda's own host code runs as on one.

The library forwards to Python (``library``); streams, events and graphs run as late, and in as odd an order, as the
driver's documentation allows (``queues``); kernels run in netspec's emulator of PTX. Numbers and rules are those of
NVIDIA's CUDA driver API reference.
"""

from __future__ import annotations


def install(number: int = 1, seed: int = 0, nbytes: int = 1 << 30) -> None:
    """Let this process find a driver with so many cards; before it has looked for one."""
    from stand_in import code, contexts, images, library, memory, streams, tensor_maps  # noqa: F401  they declare the functions
    from stand_in.cards import FUNCTIONS, cards

    cards.open(number, seed, nbytes)
    library.load(FUNCTIONS)
    images.remember()
