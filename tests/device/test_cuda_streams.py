"""What the host asks of the CUDA driver in an iteration, counted on cards that are not there."""

from __future__ import annotations

from collections import Counter

import pytest
from cuda_stand_in import stand_in_cards
from nets import BATCH, RATES, TWO_TOWERS, batch, network

pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
pytest.importorskip("netspec.kernels.numba_cuda", reason="numba-cuda is not installed")
from netspec.errors import NetspecError
from netspec.runners.execution.session import Session


def _session(**options):
    return Session(network(TWO_TOWERS), ["cuda:0,cuda:0"], phases=("train",), **options)


def _without_contexts(calls):
    return [name for name in calls if name not in ("CtxPushCurrent", "CtxPopCurrent")]


def test_a_replayed_iteration_is_one_launch(monkeypatch):
    calls = stand_in_cards(monkeypatch)
    with _session() as session:
        for iteration in range(3):
            session.train(batch(), iteration, BATCH, RATES)
        calls.clear()
        session.train(batch(), 3, BATCH, RATES)
        assert session.captured() and not session.news()
    uploads = ["HtoD"] * 3 + ["EventRecord", "StreamWaitEvent"] * 2  # the image on both devices, the label on one
    begun = ["EventRecord", "GraphLaunch", "EventRecord"]
    found = _without_contexts(calls)
    assert found[: len(uploads + begun)] == uploads + begun
    assert found[len(uploads + begun) :][:2] == ["EventQuery", "EventElapsedTime"]


def test_a_capture_holds_kernels_copies_and_events_alone(monkeypatch):
    calls = stand_in_cards(monkeypatch)
    with _session() as session:
        session.train(batch(), 0, BATCH, RATES)
        first = _without_contexts(calls)
        calls.clear()
        session.train(batch(), 1, BATCH, RATES)
    inside = calls[calls.index("StreamBeginCapture") + 1 : calls.index("StreamEndCapture")]
    counted = Counter(_without_contexts(inside))
    assert set(counted) == {"kernel", "HtoD", "DtoH", "2D", "", "EventRecord", "StreamWaitEvent"} & set(counted)
    assert counted["HtoD"] == 4  # counters and rates of two devices; images come up outside
    assert counted["DtoH"] == 5  # the report, two verdicts, and the flags of two devices' updates
    assert counted["kernel"] == Counter(first)["kernel"] > 20


def test_a_card_that_refuses_is_named(monkeypatch):
    calls = stand_in_cards(monkeypatch)
    from cuda.bindings import driver as cu

    with _session() as session:
        session.train(batch(), 0, BATCH, RATES)
        broken = (cu.CUresult.CUDA_ERROR_ILLEGAL_ADDRESS,)
        monkeypatch.setattr(cu, "cuEventQuery", lambda event: broken)
        with pytest.raises(NetspecError, match=r"^cuda:0: the CUDA driver answers CUDA_ERROR_ILLEGAL_ADDRESS$"):
            session.train(batch(), 1, BATCH, RATES)
        monkeypatch.setattr(cu, "cuEventRecord", lambda event, stream: broken)
        with pytest.raises(NetspecError, match=r"^cuda:0: the CUDA driver answers CUDA_ERROR_ILLEGAL_ADDRESS$"):
            session.train(batch(), 1, BATCH, RATES)
    assert calls
