"""Threads that the system does not give: one message with the limits, and nothing left running."""

import threading

import numpy as np
import pytest
from nets import BATCH, TWO_TOWERS, network

from netspec.device.cpu.team import Team
from netspec.errors import NetspecError
from netspec.kernels import parallel
from netspec.machine import copies, start_threads
from netspec.runners.execution.session import Session

SAID = r"no thread can be started \({}.*\): no more processes or threads may be started \(limits: ulimit -u"


@pytest.fixture
def refused(monkeypatch):
    """A function: from now on no thread of such a name can be started."""
    real = threading.Thread.start

    def refuse(name):
        def start(self):
            if self.name.startswith(name):
                raise RuntimeError("can't start new thread")
            real(self)

        monkeypatch.setattr(threading.Thread, "start", start)

    return refuse


def running():
    return {thread for thread in threading.enumerate() if thread.name.startswith("netspec")}


def test_the_cause_is_told(refused):
    refused("x")
    with pytest.raises(NetspecError, match=SAID.format("x2")):
        start_threads.start([threading.Thread(name="a", target=int), threading.Thread(name="x2", target=int)])


def test_a_team_that_is_not_complete_leaves_no_thread(refused):
    before = running()
    refused("netspec-two-2")
    with pytest.raises(NetspecError, match=SAID.format("netspec-two-2")):
        Team(3, "netspec-two")
    for thread in running() - before:
        thread.join(10)
    assert running() == before


@pytest.mark.parametrize("name", ["netspec-right-compute", "netspec-cpu:1-team", "netspec-init"])
def test_a_session_that_is_not_complete_leaves_no_thread(refused, monkeypatch, name):
    before = running()
    monkeypatch.setattr("netspec.device.binding.cores", lambda: 4)
    refused(name)
    with pytest.raises(NetspecError, match=SAID.format(name)):
        Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], batch=BATCH)
    for thread in running() - before:
        thread.join(10)
    assert running() == before


def test_a_copy_that_gets_no_thread_says_so(refused):
    copies._pool.cache_clear()
    refused("netspec-copy")
    with pytest.raises(NetspecError, match=SAID.format("netspec-copy")):
        copies.copy(np.empty(copies.LEAST, np.uint8), np.zeros(copies.LEAST, np.uint8), 4)
    copies._pool.cache_clear()


def test_a_process_without_a_thread_to_feed_it_is_ended(refused, monkeypatch):
    made = []
    real = parallel._Helper.close
    monkeypatch.setattr(parallel._Helper, "close", lambda self: (made.append(self.process), real(self)))
    refused("netspec-compile")
    with pytest.raises(RuntimeError):
        parallel._Helper(parallel.deque())
    assert [process.poll() is not None for process in made] == [True]
