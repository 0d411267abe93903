"""Keys of random numbers: what makes them the same on any device count and binding."""

from __future__ import annotations

from hashlib import blake2b


def key_of(seed: int, name: str) -> int:
    """The 64-bit key of a layer's random numbers, from the run's seed and the layer's logical name."""
    return int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little")
