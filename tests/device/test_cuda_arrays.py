"""The CUDA device on numba-cuda's own arrays, the driver stood in for."""

from __future__ import annotations

import ctypes
import struct
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_stand_in import stand_in, stand_in_kernels

from netspec.device.cuda import device as device_module
from netspec.device.cuda import driver
from netspec.device.cuda.device import CudaDevice
from netspec.errors import NetspecError
from netspec.kernels import parallel
from netspec.kernels.numba_cuda import driver_error, type_of
from netspec.planning.plan import Pass


class Stream:
    """A stream of that number, in which everything is always done."""

    def __init__(self, number):
        self.number = number

    def __int__(self):
        return self.number

    def synchronize(self):
        pass


@pytest.fixture
def card(monkeypatch):
    """A device whose memory is the host's."""
    from cuda.bindings import driver as cu
    from numba.cuda.cudadrv import devicearray, devices
    from numba.cuda.cudadrv.driver import MemoryPointer

    held = []

    def device_array(nbytes, dtype):
        held.append(np.full(nbytes, 255, np.uint8))
        memory = MemoryPointer(None, cu.CUdeviceptr(held[-1].ctypes.data), nbytes)
        return devicearray.DeviceNDArray((nbytes,), (1,), dtype, gpu_data=memory)

    monkeypatch.setattr(devices._runtime, "ensure_context", nullcontext)
    module = SimpleNamespace(
        device_array=device_array,
        pinned_array=lambda shape, dtype: np.zeros(shape, dtype),
        event=lambda timing: SimpleNamespace(handle=11),
    )
    monkeypatch.setattr(device_module, "cuda", module)
    monkeypatch.setattr(parallel.Work, "place", lambda self: nullcontext())
    for name in ("cuEventRecord", "cuStreamWaitEvent"):
        monkeypatch.setattr(cu, name, lambda *_: (cu.CUresult.CUDA_SUCCESS,))
    stand_in(monkeypatch)
    return _card(0)


def _card(index):
    made = CudaDevice.__new__(CudaDevice)
    made.name, made.index, made._card, made._current = f"cuda:{index}", index, nullcontext(), nullcontext()
    made._lost = False
    made._streams = {"compute": Stream(7), "copy": Stream(8), "upload": Stream(9), "away": Stream(10)}
    made._handles = {lane: int(stream) for lane, stream in made._streams.items()}
    return made


def test_arrays_of_an_arena(card):
    arena = card.arena(4096)
    array, other = card.carve(arena, 256, (2, 3, 4, 6), "float32"), card.carve(arena, 1024, (5,), "int64")
    values = np.arange(144, dtype=np.float32).reshape(2, 3, 4, 6)
    card.upload(array, values)
    card.upload(other, np.arange(5))
    assert array.device_ctypes_pointer.value - arena.device_ctypes_pointer.value == 256
    np.testing.assert_array_equal(card.download(array), values)
    np.testing.assert_array_equal(card.download(other), np.arange(5))
    assert (card.download(card.carve(arena, 0, (256,), "uint8")) == 255).all()


@pytest.mark.parametrize(("axis", "layout"), [(0, "C"), (1, "A"), (2, "A"), (3, "A")])
def test_slices_are_views_that_kernels_know_as_such(card, axis, layout):
    values = np.arange(360, dtype=np.float32).reshape(3, 4, 5, 6)
    array = card.empty(values.shape, "float32")
    card.upload(array, values)
    cut = (slice(None),) * axis + (slice(1, 3),)
    view = card.slice(array, axis, 1, 3)
    assert type_of(view).layout == layout and type_of(array).layout == "C"
    np.testing.assert_array_equal(card.download(view), values[cut])
    card.upload(view, -values[cut])
    values[cut] *= -1
    np.testing.assert_array_equal(card.download(array), values)


@pytest.mark.parametrize("direct", [True, False])
def test_copies_from_another_card(card, monkeypatch, direct):
    asked = []
    monkeypatch.setattr(driver, "allow_peer", lambda target, source: asked.append((target, source)) or direct)
    other, values = _card(1), np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    source, target = other.empty(values.shape, "float32"), card.empty((2, 3, 8), "float32")
    other.upload(source, values)
    card.upload(target, np.zeros((2, 3, 8), np.float32))
    card.copier(card.slice(target, 2, 4, 8), source, other, "copy")()
    assert asked == [(0, 1)]
    np.testing.assert_array_equal(card.download(target), np.concatenate([0 * values, values], axis=2))


def test_a_copy_between_different_shapes_is_refused(card):
    with pytest.raises(ValueError, match="cannot copy"):
        card.copier(card.empty((2, 3), "float32"), card.empty((3, 2), "float32"), card, "copy")


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [(2, NetspecError, "cuda:0: no room for 1000 B, 100 B of 1.95 KiB are free"), (999, driver_error(), "refused")],
)
def test_no_room_names_bytes_asked_and_free(card, monkeypatch, code, error, words):
    """Another refusal of the driver's is passed on as it is."""

    def refuse(*_):
        raise driver_error()(code, "refused")

    monkeypatch.setattr(device_module.cuda, "device_array", refuse)
    context = SimpleNamespace(get_memory_info=lambda: (100, 2000))
    monkeypatch.setattr(device_module.cuda, "current_context", lambda: context, raising=False)
    with pytest.raises(error, match=words):
        card.arena(1000)


def test_a_pass_is_compiled_once_and_launched_as_it_says(card, monkeypatch):
    seen = []
    compiled = stand_in_kernels(monkeypatch, lambda config, places: seen.append((config, _words(places, 15))))
    arrays = {name: card.empty((2, 3), "float32") for name in ("x", "y")}
    call = card.bind([_pass("dropout:scale_cuda", ("x", "y"), {"factor": 0.5})], arrays)
    assert compiled == [(["array(float32, 1d, C)", "array(float32, 1d, C)", "float32"], 0)] and not seen
    call()
    call()
    config, words = seen[1]
    assert (config.gridDimX, config.gridDimY, config.blockDimX, config.sharedMemBytes) == (2, 1, 3, 0)
    assert (int(config.hStream), config.numAttrs, len(compiled)) == (7, 0, 1)
    for begin, name in ((0, "x"), (7, "y")):
        at = arrays[name].device_ctypes_pointer.value
        assert words[begin : begin + 7] == [0, 0, 6, 4, at, 6, 4]
    assert struct.pack("<q", words[14])[:4] == struct.pack("<f", 0.5)
    assert seen[0][1][:14] == words[:14]


def test_a_kernel_that_cannot_be_compiled_is_named(card, monkeypatch):
    from numba.cuda.core.errors import TypingError

    class Dispatcher:
        def compile(self, types):
            raise TypingError("no such type")

    monkeypatch.setattr(device_module, "compile_cuda", lambda function, dtype, *_: Dispatcher())
    arrays = {name: card.empty((6,), "float32") for name in ("x", "y")}
    with pytest.raises(NetspecError, match=r"dropout:.*scale_cuda cannot be compiled for GPUs: .*no such type"):
        card.bind([_pass("dropout:scale_cuda", ("x", "y"), {"factor": 0.5})], arrays)


def _words(places, count):
    """What the addresses of a launch's arguments hold, read as numbers of eight bytes each."""
    found = (ctypes.c_void_p * count).from_address(places)
    return [ctypes.c_int64.from_address(one).value for one in found]


def _pass(kernel, names, scalars):
    return Pass(
        kernel=kernel,
        variant="plain",
        args=(*((name, name) for name in names), *((name, None) for name in scalars)),
        scalars=scalars,
        writes=names[-1:],
        extent=6,
        block=6,
        grid=(2,),
        threads=(3,),
        flat=tuple(names),
        per_member=(),
        host=False,
        dtype="float32",
    )
