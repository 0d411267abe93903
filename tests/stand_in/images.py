"""Which PTX a loaded machine code was assembled from: numba-cuda is asked while it links."""

from __future__ import annotations

import ctypes

_linked: dict[bytes, str] = {}


def remember() -> None:
    """Have numba-cuda tell the PTX of each code that it gives to the driver."""
    from numba.cuda.codegen import CUDACodeLibrary

    real = CUDACodeLibrary.get_cubin

    def get_cubin(self, cc=None):
        found = real(self, cc)
        _linked[bytes(getattr(found, "code", found))] = self.get_asm_str(cc)
        return found

    CUDACodeLibrary.get_cubin = get_cubin


def ptx_at(address: int) -> str | None:
    """The PTX of the code at an address of the host; None for code of another origin."""
    for code, text in _linked.items():
        if ctypes.string_at(address, min(64, len(code))) == code[:64] and ctypes.string_at(address, len(code)) == code:
            return text
    return None
