"""Counter-based random numbers for kernels: Philox 4x32-10 (Salmon et al., SC 2011), the same on CPU and CUDA.

A number depends on (key, iteration, element index) only, so that any device count, binding or resume draws the same.
"""

from __future__ import annotations

import numpy as np

from netspec.contract.kernel import device

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_SHIFT, _UNIT = np.uint64(8), np.float32(2.0**-24)


@device
def philox(key, iteration, index):  # type: ignore[no-untyped-def]
    """Four 32-bit words (as uint64) for the key and the 128-bit counter (index, iteration)."""
    k0, k1 = np.uint64(key) & _LOW, np.uint64(key) >> _HALF
    c0, c1 = np.uint64(index) & _LOW, np.uint64(index) >> _HALF
    c2, c3 = np.uint64(iteration) & _LOW, np.uint64(iteration) >> _HALF
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@device
def uniform(key, iteration, index):  # type: ignore[no-untyped-def]
    """A number in [0, 1) for the element of that index: a multiple of 2**-24, exact in float32."""
    words = philox(key, iteration, index // 4)
    lane = index % 4
    word = words[0]
    if lane == 1:
        word = words[1]
    elif lane == 2:
        word = words[2]
    elif lane == 3:
        word = words[3]
    return np.float32(word >> _SHIFT) * _UNIT


@device
def _unit(word):  # type: ignore[no-untyped-def]
    """A word of 32 bits as a number in [0, 1), as in ``uniform``."""
    return np.float32(np.int32(word >> np.uint32(8))) * _UNIT


@device
def uniforms(key, iteration, index):  # type: ignore[no-untyped-def]
    """The numbers of four elements from index on, a multiple of four: what ``uniform`` gives for each."""
    a, b, c, d = philox(key, iteration, np.uint64(index) >> np.uint64(2))
    return _unit(a), _unit(b), _unit(c), _unit(d)


@device
def bernoulli(chosen, key, iteration, first, probability):  # type: ignore[no-untyped-def]
    """chosen[i] = uniform(key, iteration, first + i) < probability, for CPUs: four elements a draw, vectorised.

    Philox is written out: numba's compiler does not vectorise a loop that calls it.
    """
    lead = min(-first % 4, chosen.size)
    draws = (chosen.size - lead) // 4
    for i in range(lead):
        chosen[i] = uniform(key, iteration, first + i) < probability
    whole, start = chosen[lead : lead + 4 * draws], np.uint64((first + lead) // 4)
    for i in range(draws):
        index, k0, k1 = start + np.uint64(i), np.uint64(key) & _LOW, np.uint64(key) >> _HALF
        c0, c1 = np.uint32(index & _LOW), np.uint32(index >> _HALF)
        c2, c3 = np.uint32(np.uint64(iteration) & _LOW), np.uint32(np.uint64(iteration) >> _HALF)
        for _ in range(10):
            p0, p1 = _M0 * np.uint64(c0), _M1 * np.uint64(c2)
            c0, c1 = np.uint32(np.uint32(p1 >> _HALF) ^ c1 ^ np.uint32(k0)), np.uint32(p1 & _LOW)
            c2, c3 = np.uint32(np.uint32(p0 >> _HALF) ^ c3 ^ np.uint32(k1)), np.uint32(p0 & _LOW)
            k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
        whole[4 * i], whole[4 * i + 1] = _unit(c0) < probability, _unit(c1) < probability
        whole[4 * i + 2], whole[4 * i + 3] = _unit(c2) < probability, _unit(c3) < probability
    for i in range(lead + 4 * draws, chosen.size):
        chosen[i] = uniform(key, iteration, first + i) < probability
