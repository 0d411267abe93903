"""Copies as they are asked of the CUDA driver, carried out by a stand-in for it on host memory."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from cuda_stand_in import stand_in

driver = pytest.importorskip("netspec.device.cuda.driver", reason="cuda-bindings is not installed")
cu = driver.cu
SUCCESS = (cu.CUresult.CUDA_SUCCESS,)


class OnCard:
    """An array as a card's arrays look from outside."""

    def __init__(self, values):
        self.values, self.shape, self.strides, self.dtype = values, values.shape, values.strides, values.dtype
        self.__cuda_array_interface__ = {"data": (values.ctypes.data, False)}


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """The names of the driver calls, in order; each works at once."""
    return stand_in(monkeypatch)


def _cut(array, axis):
    return array[(slice(None),) * axis + (slice(1, 3),)]


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
@pytest.mark.parametrize(("target_kind", "source_kind"), [(OnCard, OnCard), (OnCard, np.asarray), (np.asarray, OnCard)])
@pytest.mark.parametrize("sliced", ["target", "source", "both"])
def test_slices(axis, target_kind, source_kind, sliced):
    values = np.random.default_rng(axis).normal(size=(4, 3, 5, 6)).astype(np.float32)
    wanted, into = _cut(values, axis), np.zeros_like(values)
    source = wanted if sliced in ("source", "both") else np.ascontiguousarray(wanted)
    target = _cut(into, axis) if sliced in ("target", "both") else np.zeros_like(wanted, order="C")
    driver.copier(target_kind(target), source_kind(source), 7)()
    np.testing.assert_array_equal(target, wanted)
    if sliced in ("target", "both"):
        assert np.count_nonzero(into) == wanted.size


def test_which_call_is_made(asked):
    card, host = OnCard(np.zeros((2, 4), np.float32)), np.ones((2, 4), np.float32)
    for target, source in ((card, host), (host, card), (card, OnCard(host))):
        driver.copier(target, source, 7)()
    driver.copier(OnCard(card.values[:, :2]), OnCard(host[:, 2:]), 7)()
    assert asked == ["HtoD", "DtoH", "", "2D"]


def test_a_copy_keeps_its_arrays():
    target, source = OnCard(np.zeros(4)), np.ones(4)
    kept, copy = weakref.ref(target), driver.copier(target, source, 7)
    values = target.values
    del target, source
    gc.collect()
    assert kept() is not None
    copy()
    assert (values == 1).all()


def test_what_the_driver_refuses_is_named():
    from netspec.errors import NetspecError

    with pytest.raises(NetspecError, match="CUDA_ERROR_INVALID_VALUE"):
        driver.check((cu.CUresult.CUDA_ERROR_INVALID_VALUE,))


def test_a_capture_is_ended_whatever_happens(monkeypatch):
    seen = []
    monkeypatch.setattr(cu, "cuStreamBeginCapture", lambda stream, mode: seen.append("begin") or SUCCESS)
    monkeypatch.setattr(cu, "cuStreamEndCapture", lambda stream: seen.append("end") or (*SUCCESS, "graph"))
    monkeypatch.setattr(cu, "cuGraphInstantiate", lambda graph, flags: (*SUCCESS, "executable"))
    monkeypatch.setattr(cu, "cuGraphDestroy", lambda graph: SUCCESS)
    monkeypatch.setattr(cu, "cuGraphLaunch", lambda executable, stream: seen.append(executable) or SUCCESS)
    monkeypatch.setattr(cu, "cuGraphExecDestroy", lambda executable: seen.append("destroyed"))
    driver.capture(lambda: seen.append("work"), 7)()
    gc.collect()
    assert seen == ["begin", "work", "end", "executable", "destroyed"]

    def fails():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        driver.capture(fails, 7)
    assert seen[5:] == ["begin", "end"]


@pytest.mark.parametrize(("able", "answer"), [(1, True), (0, False)])
def test_peers(monkeypatch, able, answer):
    monkeypatch.setattr(cu, "cuDeviceCanAccessPeer", lambda one, other: (*SUCCESS, able))
    monkeypatch.setattr(cu, "cuDevicePrimaryCtxRetain", lambda card: (*SUCCESS, "context"))
    already = (cu.CUresult.CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED,)
    monkeypatch.setattr(cu, "cuCtxEnablePeerAccess", lambda context, flags: already)
    assert driver.allow_peer(0, 1) is answer
