"""What goes back to the driver, and when: captures, cards that fail and cards that hang, on stand-ins."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_stand_in import stand_in_cards
from nets import BATCH, RATES, TWO_TOWERS, batch, network

pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
numba_cuda = pytest.importorskip("netspec.kernels.numba_cuda", reason="numba-cuda is not installed")
from netspec.device.cuda import deferred_free  # noqa: E402
from netspec.errors import NetspecError  # noqa: E402
from netspec.runners.execution.session import Session  # noqa: E402


@pytest.fixture(autouse=True)
def state(monkeypatch):
    """A state of the test's own, and an end of the process that is not hurried."""
    monkeypatch.setattr(deferred_free._State, "captures", 0)
    monkeypatch.setattr(deferred_free._State, "hangs", False)
    monkeypatch.setattr(deferred_free.atexit, "register", lambda function: None)


@pytest.fixture
def queue():
    """numba-cuda's queue in a context that is looked after; ``events`` tells what happened in which order."""
    from numba.cuda.cudadrv.driver import _PendingDeallocs

    events = []

    @contextmanager
    def current():
        events.append("pushed")
        yield
        events.append("popped")

    pending = _PendingDeallocs(100)
    deferred_free.guard_deallocations(SimpleNamespace(deallocations=pending), current())
    deferred_free.guard_deallocations(SimpleNamespace(memory_manager=SimpleNamespace(deallocations=pending)), current())
    return SimpleNamespace(pending=pending, events=events, add=lambda size: pending.add_item(free, events, size))


def free(events):
    events.append("freed")


@pytest.fixture(autouse=True)
def logging(monkeypatch):
    from numba.cuda.cudadrv import driver

    monkeypatch.setattr(driver, "_logger", SimpleNamespace(info=lambda *_: None), raising=False)


def test_memory_goes_back_in_its_cards_context(queue):
    queue.add(10**6)
    assert queue.events == ["pushed", "freed", "popped"] and not queue.pending


def test_nothing_goes_back_during_a_capture(queue):
    with deferred_free.no_deallocations():
        queue.add(10**6)
        assert queue.events == [] and len(queue.pending) == 1


def test_a_card_that_failed_is_not_told_of_again(queue):
    def fails(_):
        raise numba_cuda.driver_error()(700, "Call to cuMemFree results in CUDA_ERROR_ILLEGAL_ADDRESS")

    queue.pending.add_item(fails, None, 10**6)


def test_nothing_goes_back_to_a_card_that_hangs(queue):
    deferred_free.stop_deallocations()
    queue.add(10**6)
    assert queue.events == []


def test_a_process_whose_card_hangs_ends_at_once():
    code = (
        "import weakref, time; from netspec.device.cuda import deferred_free\n"
        "class Memory: pass\n"
        "memory = Memory(); weakref.finalize(memory, time.sleep, 600)\n"
        "deferred_free.stop_deallocations(); print('told')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, "told\n", "")


@pytest.mark.parametrize("iterations", [0, 2])
def test_a_card_that_hangs_is_one_message_and_is_waited_for_no_more(monkeypatch, iterations):
    stand_in_cards(monkeypatch)
    from cuda.bindings import driver as cu

    began = time.monotonic()
    with Session(network(TWO_TOWERS), ["cuda:0,cuda:0"], phases=("train",), watchdog=0.05) as session:
        for iteration in range(iterations):
            session.train(batch(), iteration, BATCH, RATES)
        monkeypatch.setattr(cu, "cuEventQuery", lambda event: (cu.CUresult.CUDA_ERROR_NOT_READY,))
        with pytest.raises(NetspecError, match=rf"iteration {iterations + 1} has not ended after 0.05 s on 'left'"):
            session.train(batch(), iterations, BATCH, RATES)
        with pytest.raises(NetspecError, match="cuda:0: work on the card has not ended"):
            session.store.tensors()
    assert time.monotonic() - began < 10 and deferred_free._State.hangs


def test_a_number_that_the_bindings_do_not_know_is_told_as_a_number():
    from netspec.device.cuda import driver

    with pytest.raises(NetspecError, match="the CUDA driver answers 12345"):
        driver.check((12345,))
    assert driver.check((driver.cu.CUresult.CUDA_SUCCESS, np.int64(3))) == 3
