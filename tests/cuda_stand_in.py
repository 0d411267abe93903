"""A stand-in for the CUDA driver's copies: device memory is host memory, and work is done when it is enqueued."""

from __future__ import annotations

import ctypes


def stand_in(monkeypatch):
    """Replace the driver's copies; gives the list into which their names go, in order."""
    from cuda.bindings import driver as cu

    names, done = [], (cu.CUresult.CUDA_SUCCESS,)

    def linear(name, target, source, nbytes, stream):
        names.append(name)
        ctypes.memmove(target, source, nbytes)
        return done

    def rows(copy, stream):
        names.append("2D")
        host = cu.CUmemorytype.CU_MEMORYTYPE_HOST
        target = copy.dstHost if copy.dstMemoryType == host else int(copy.dstDevice)
        source = copy.srcHost if copy.srcMemoryType == host else int(copy.srcDevice)
        for row in range(copy.Height):
            ctypes.memmove(target + row * copy.dstPitch, source + row * copy.srcPitch, copy.WidthInBytes)
        return done

    for name in ("", "HtoD", "DtoH"):
        monkeypatch.setattr(cu, f"cuMemcpy{name}Async", lambda *args, name=name: linear(name, *args))
    monkeypatch.setattr(cu, "cuMemcpy2DAsync", rows)
    return names
