"""What a launch gives to the driver: arguments as numba-cuda's kernels take them, and CUlaunchConfig."""

from __future__ import annotations

import ctypes
import gc
import weakref
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
pytest.importorskip("netspec.kernels.numba_cuda", reason="numba-cuda is not installed")
from cuda.bindings import driver as cu

from netspec.contract.kernel import cuda as gpu
from netspec.device.cuda.arguments import flattened
from netspec.device.cuda.kernel_launch import Launch, configuration
from netspec.errors import NetspecError
from netspec.kernels import numba_cuda
from netspec.kernels.cuda import compile_cuda, ptx_of
from netspec.kernels.numba_cuda import array_type, type_of
from netspec.kernels.toolkit import finds_compiler

DONE = cu.CUresult.CUDA_SUCCESS


def on_card(values):
    """A device array whose memory is the host's."""
    from numba.cuda.cudadrv import devicearray
    from numba.cuda.cudadrv.driver import MemoryPointer

    memory = MemoryPointer(None, cu.CUdeviceptr(values.ctypes.data), values.nbytes)
    return devicearray.DeviceNDArray(values.shape, values.strides, values.dtype, gpu_data=memory)


@pytest.fixture
def numbas(monkeypatch):
    """The bytes of an argument as numba-cuda itself prepares it."""
    from numba.cuda.cudadrv import devices
    from numba.cuda.dispatcher import _Kernel

    monkeypatch.setattr(devices._runtime, "ensure_context", nullcontext)
    kernel = _Kernel.__new__(_Kernel)
    kernel.extensions = []

    def prepared(value):
        found = []
        kernel._prepare_args(type_of(value), value, 0, [], found)
        return [bytes(_as_cuda_core(one)) for one in found]

    return prepared


def _as_cuda_core(value):
    """What cuda.core makes of a number without a type: an intptr_t, or a bool."""
    if isinstance(value, bool | np.bool_):
        return ctypes.c_bool(value)
    return value if isinstance(value, ctypes._SimpleCData) else ctypes.c_int64(int(value))


@pytest.mark.parametrize(
    "value",
    [3, -1, 2**40, True, np.bool_(False), np.float32(0.5), 0.25, np.uint64(2**63), np.int32(-7), np.uint8(200),
     (1, 2, 3), (np.float32(1), 2, True), ((1, 2), np.float64(3))],
)  # fmt: skip
def test_numbers_are_passed_as_numba_passes_them(value, numbas):
    assert list(flattened(value)) == numbas(value)


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "uint16"])
def test_arrays_are_passed_as_numba_passes_them(dtype, numbas):
    values = np.zeros((3, 4, 5), dtype)
    for whole in (on_card(values), on_card(values).reshape((60,))):
        assert list(flattened(whole)) == numbas(whole)
    cut = on_card(values)[:, 1:3]
    assert list(flattened(cut)) == numbas(cut)
    assert list(flattened(values)) == list(flattened(on_card(values)))


def test_the_launch_as_the_driver_reads_it():
    class Config(ctypes.Structure):
        _fields_ = (
            *((name, ctypes.c_uint) for name in ("gx", "gy", "gz", "bx", "by", "bz", "shared")),
            ("stream", ctypes.c_void_p), ("attributes", ctypes.c_void_p), ("count", ctypes.c_uint),
        )  # fmt: skip

    config = configuration((7, 5), (384,), 0x1230, 100 << 10, False)
    read = Config.from_address(config.getPtr())
    assert [getattr(read, name) for name, _ in Config._fields_] == [7, 5, 1, 384, 1, 1, 100 << 10, 0x1230, None, 0]
    cooperative = configuration((1,), (32, 2), 1, 0, True)
    read = Config.from_address(cooperative.getPtr())
    assert (read.by, read.count) == (2, 1)
    name, value = ctypes.c_int.from_address(read.attributes).value, ctypes.c_int.from_address(read.attributes + 8).value
    assert (name, value) == (int(cu.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_COOPERATIVE), 1)


@pytest.fixture
def card(monkeypatch):
    """A driver that records what it is asked, with 48 KB of shared memory a block until more is allowed."""
    asked, kernel = [], SimpleNamespace(allowed=48 << 10, answer=DONE)

    def allow(attribute, nbytes, handle, card):
        asked.append(("allow", nbytes, int(handle), card))
        kernel.allowed = nbytes if nbytes <= 227 << 10 else kernel.allowed
        return (DONE if nbytes <= 227 << 10 else cu.CUresult.CUDA_ERROR_INVALID_VALUE,)

    def launch(config, entry, places, extra):
        asked.append(("launch", config.sharedMemBytes, int(entry)))
        return (kernel.answer,)

    monkeypatch.setattr(numba_cuda, "loaded", lambda dispatcher, types: (cu.CUkernel(5), 1, False))
    monkeypatch.setattr(cu, "cuKernelGetAttribute", lambda attribute, handle, card: (DONE, kernel.allowed))
    monkeypatch.setattr(cu, "cuKernelSetAttribute", allow)
    monkeypatch.setattr(cu, "cuKernelGetFunction", lambda handle: (DONE, cu.CUfunction(6)))
    monkeypatch.setattr(cu, "cuLaunchKernelEx", launch)
    kernel.asked = asked
    return kernel


class Work:
    """Work that is done."""

    kernel, dispatcher, signature = "conv:forward_cuda", None, ()

    def compile(self):
        pass

    def place(self):
        return nullcontext()


def test_shared_memory_is_allowed_once_and_never_less(card):
    calls = [Launch(Work(), (1,), (32,), 1, (), nbytes) for nbytes in (0, 100 << 10, 60 << 10, 200 << 10)]
    for call in (*calls, *calls):
        call()
    assert [one for one in card.asked if one[0] == "allow"] == [("allow", 100 << 10, 5, 1), ("allow", 200 << 10, 5, 1)]
    launched = [one[1] for one in card.asked if one[0] == "launch"]
    assert launched == [0, 100 << 10, 60 << 10, 200 << 10] * 2


def test_what_the_driver_refuses_names_the_kernel(card):
    with pytest.raises(NetspecError, match=r"conv:forward_cuda, asked for 256 KiB of shared memory a block: .*INVALID"):
        Launch(Work(), (1,), (32,), 1, (), 256 << 10)()
    card.answer = cu.CUresult.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
    with pytest.raises(NetspecError, match=r"conv:forward_cuda, at the launch: the CUDA driver answers .*RESOURCES"):
        Launch(Work(), (1,), (32,), 1, ())()


def test_arguments_keep_their_memory(card):
    array = on_card(np.arange(6, dtype=np.float32))
    memory, call = weakref.ref(array), Launch(Work(), (1,), (32,), 1, (array,))
    call()
    del array
    gc.collect()
    assert memory() is not None
    del call
    gc.collect()
    assert memory() is None


def shares(x):
    """Thread numbers by way of dynamic shared memory, backwards."""
    there = gpu.shared.array(0, x.dtype)
    there[gpu.threadIdx.x] = gpu.threadIdx.x
    gpu.syncthreads()
    x[gpu.threadIdx.x] = there[gpu.blockDim.x - 1 - gpu.threadIdx.x]


@pytest.mark.skipif(not finds_compiler(), reason="the CUDA compiler is not installed: pip install 'netspec[gates]'")
def test_a_bound_decides_the_code_and_where_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path))
    asked = (shares, "float32", None, (array_type("float32", 1),), (9, 0))
    free, bound = ptx_of(*asked), ptx_of(*asked, 384)
    assert ".maxntid" not in free and ".maxntid 384" in bound and ".minnctapersm 1" in bound
    folders = {compile_cuda(*asked[:2], None, threads)._cache._cache_path for threads in (0, 128, 384)}
    assert len(folders) == 3
