"""The CUDA device in the simulator: memory, slices, copies, queues, primitives."""

from __future__ import annotations

import numpy as np
import pytest

from netspec.device.cuda.device import ALIGNMENT, CudaDevice
from netspec.device.cuda.ops import CudaOps
from netspec.errors import NetspecError
from netspec.kernels import numba_cuda


@pytest.fixture(scope="module")
def card():
    return CudaDevice(0)


def _put(card, values):
    array = card.empty(values.shape, str(values.dtype))
    card.upload(array, values)
    return array


def test_arrays_of_an_arena_share_its_memory(card):
    arena = card.arena(4 * ALIGNMENT)
    first = card.carve(arena, ALIGNMENT, (3, 5), "float32")
    again = card.carve(arena, ALIGNMENT, (15,), "float32")
    other = card.carve(arena, 2 * ALIGNMENT, (7,), "int64")
    card.upload(first, np.arange(15, dtype=np.float32).reshape(3, 5))
    card.upload(other, np.arange(7))
    assert np.array_equal(card.download(again), np.arange(15))
    assert np.array_equal(card.download(other), np.arange(7))
    assert tuple(first.shape) == (3, 5) and first.dtype == np.float32


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_a_slice_is_a_view(card, axis):
    values = np.arange(2 * 3 * 4 * 6, dtype=np.float32).reshape(2, 3, 4, 6)
    array = _put(card, values)
    cut = (slice(None),) * axis + (slice(1, 2),)
    view = card.slice(array, axis, 1, 2)
    assert np.array_equal(card.download(view), values[cut])
    card.upload(view, np.full(values[cut].shape, -1, np.float32))
    values[cut] = -1
    assert np.array_equal(card.download(array), values)


def test_copies_between_devices_slices_and_staging(card):
    other, values = CudaDevice(1), np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    target = _put(card, np.zeros((2, 3, 8), np.float32))
    card.copier(card.slice(target, 2, 4, 8), _put(other, values), other, "copy")()
    staged = card.staging((2, 3, 4), "float32")
    staged[:] = values + 100
    call = card.copier(card.slice(target, 2, 0, 4), staged, None, "copy")
    staged += 1  # the call copies what is there when it runs
    call()
    card.synchronise()
    assert np.array_equal(card.download(target), np.concatenate([values + 101, values], axis=2))
    card.copier(staged, card.slice(target, 2, 4, 8), card, "compute")()
    card.synchronise()
    assert np.array_equal(staged, values)


def test_a_copy_between_different_shapes_is_refused(card):
    with pytest.raises(ValueError, match="cannot copy"):
        card.copier(card.empty((2, 3), "float32"), card.empty((3, 2), "float32"), card, "copy")


def test_queues_and_events(card):
    event = card.event()
    card.record(event, "compute")
    card.wait(event, "copy")
    CudaDevice(1).wait(event, "compute")
    card.synchronise()
    calls = []
    card.capture(lambda: calls.append(1))()
    assert calls == [1]


def test_no_room_names_bytes_asked_and_free(card, monkeypatch):
    class DriverError(RuntimeError):
        code = 2

    def refuse(*_):
        raise DriverError

    monkeypatch.setattr(numba_cuda, "driver_error", lambda: DriverError)
    monkeypatch.setattr(numba_cuda._module, "device_array", refuse)
    with pytest.raises(NetspecError, match=r"cuda:0: no room for 1,000 bytes, .* free"):
        card.arena(1000)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
def test_gemm(card, dtype, trans_a, trans_b):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(17, 5)).astype(dtype), rng.normal(size=(5, 3)).astype(dtype)
    left = _put(card, np.ascontiguousarray(a.T) if trans_a else a)
    right = _put(card, np.ascontiguousarray(b.T) if trans_b else b)
    wide = _put(card, np.zeros((17, 7), dtype))
    CudaOps(0).gemm(left, right, card.slice(wide, 1, 2, 5), trans_a=trans_a, trans_b=trans_b)
    result = card.download(wide)
    assert np.allclose(result[:, 2:5], a @ b, atol=1e-5 if dtype == "float32" else 1e-14)
    assert not result[:, :2].any() and not result[:, 5:].any()


def test_gemm_refuses_shapes_that_do_not_fit(card):
    arrays = [card.empty(shape, "float32") for shape in ((2, 3), (4, 5), (2, 5))]
    with pytest.raises(NetspecError, match="cannot multiply"):
        CudaOps(0).gemm(*arrays)


def test_sum_rows_and_add_row(card):
    rng = np.random.default_rng(2)
    a, row = rng.normal(size=(11, 35)), rng.normal(size=35)
    out = card.empty((35,), "float64")
    CudaOps(0).sum_rows(_put(card, a), out)
    assert np.allclose(card.download(out), a.sum(axis=0), atol=1e-13)
    matrix = _put(card, a)
    CudaOps(0).add_row(matrix, _put(card, row))
    assert np.array_equal(card.download(matrix), a + row)
