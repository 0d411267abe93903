"""Signals and terminals: which are heeded, and what a run does when its terminal goes away."""

import errno
import os
import signal
import threading

import pytest

from netspec.events import Note
from netspec.runners.training.journal import Journal
from netspec.runners.training.signals import Interrupts


@pytest.fixture(autouse=True)
def usual_handlers():
    """Whoever runs the tests may ignore SIGHUP (nohup does), which runs respect."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_is_noted(number, code):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert not interrupts
        assert interrupts.exit_code == 0
        os.kill(os.getpid(), number)
        assert interrupts
        assert interrupts.exit_code == code
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.exit_code == code
    assert signal.getsignal(number) is before


def test_a_second_interrupt_is_raised():
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupts
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_has_no_signals():
    failures = []

    def enter():
        try:
            with Interrupts() as interrupts:
                assert not interrupts
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failures


def test_a_terminal_that_is_gone_hears_no_more():
    heard = []

    def gone(event):
        heard.append(event)
        raise OSError(errno.EIO, "Input/output error")

    journal = Journal(gone)
    journal(Note("one"))
    journal(Note("two"))
    assert heard == [Note("one")]


def test_a_closed_pipe_is_not_a_terminal():
    def closed(event):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        Journal(closed)(Note("one"))
