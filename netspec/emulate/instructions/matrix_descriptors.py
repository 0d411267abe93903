"""Matrix descriptors of wgmma (PTX ISA 9.7.15.5.1): the layout of an operand in shared memory.

Rows run along the terms of the sums ("K-major"). Eight of them, of the swizzling mode's 128, 64 or 32 bytes each, are a
pattern, in which units of 16 bytes are swapped: bits 4 and up of the address are exclusive-ored with bits 7 and up.
Without swizzling a pattern is 16 bytes wide, and the next 16 bytes of its rows lie in another one.

An operand may also lie turned ("MN-major", 16-bit types only): a row of a pattern then has one term of as many lines as
its bytes hold. The leading offset leads to the pattern of the next lines, the stride offset to that of the next eight
terms; without swizzling it is the other way round.
"""

from __future__ import annotations

import numpy as np

from netspec.emulate.map_encoding import swizzled
from netspec.emulate.memory import Array

UNIT = 16
STEP = 32
"""Bytes of a row that one instruction reads, whatever the type."""
TERMS = 8
"""Elements of 16 bits in a unit."""
_WIDTHS = {1: 128, 2: 64, 3: 32}


def fields(word: int, turned: bool = False) -> tuple[int, int, int, int]:
    """Start, leading and stride offsets in bytes, and the swizzling mode; ValueError for an invalid descriptor."""
    start, leading, stride = ((word >> shift & 0x3FFF) << 4 for shift in (0, 16, 32))
    mode, base = word >> 62 & 3, word >> 49 & 7
    if base:
        raise ValueError(f"a descriptor with a base offset ({base}) is not known here")
    if mode in _WIDTHS:
        width = _WIDTHS[mode]
        if start % (8 * width) >= width:
            raise ValueError(f"an operand at {start:#x} does not begin where the pattern of {8 * width} bytes does")
        if start % width > (0 if turned else width - STEP):
            raise ValueError(f"an operand at {start:#x} runs over its rows of {width} bytes")
        if stride % (8 * width) or (turned and leading % (8 * width)):
            raise ValueError(
                f"eight rows and the next are {stride} bytes apart, no multiple of the pattern's {8 * width}"
            )
    return start, leading, stride, mode


def units(word: int, lines: int) -> Array:
    """Addresses of the two 16-byte units that an instruction reads of each line, (lines, 2)."""
    start, leading, stride, mode = fields(word)
    line, unit = np.arange(lines)[:, None], np.arange(STEP // UNIT)
    if mode not in _WIDTHS:
        return start + line // 8 * stride + line % 8 * UNIT + unit * leading
    width = _WIDTHS[mode]
    plain = start + line // 8 * stride + line % 8 * width + unit * UNIT
    return swizzled(plain, width)


def turned_units(word: int, lines: int) -> Array:
    """Addresses of the 16-byte units that an instruction reads of each of 16 terms, (16, lines / 8)."""
    start, leading, stride, mode = fields(word, turned=True)
    term, unit = np.arange(2 * TERMS)[:, None], np.arange(lines // TERMS)
    if mode not in _WIDTHS:
        return start + term // 8 * leading + term % 8 * UNIT + unit * stride
    width = _WIDTHS[mode]
    across = width // UNIT
    plain = start + term // 8 * stride + term % 8 * width + unit // across * leading + unit % across * UNIT
    return swizzled(plain, width)
