"""Bank conflicts of shared memory: wavefronts of a warp's access, from the addresses of its threads alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

BANKS = 32
"""Of 4 bytes each; what lies in one bank is read one after the other, but for the same 4 bytes."""


def rounds(places: Sequence[int], width: int) -> int:
    """Wavefronts of an access of ``width`` 4-byte elements by each of 32 threads, at indices ``places``.

    Wider accesses are made by a part of the warp at a time: half of it for 64 bits, a quarter for 128, as for the rows
    of one of ldmatrix's matrices. Without conflicts that makes as many rounds as elements a thread. Where all threads
    side by side, or all two apart, access the same 128 bits, half a warp is served at once: NVIDIA does not document
    it, matrix products in float32 rely on it.
    """
    at_once = len(places) // width
    if width == 4 and any(all(places[lane] == places[lane ^ apart] for lane in range(32)) for apart in (1, 2)):
        at_once *= 2
    return sum(_rounds(places[first : first + at_once], width) for first in range(0, len(places), at_once))


def _rounds(places: Sequence[int], width: int) -> int:
    words = {place + offset for place in places for offset in range(width)}
    return max(Counter(word % BANKS for word in words).values())
