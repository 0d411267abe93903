"""Signals and terminals: which are heeded, and what a run does when its terminal goes away."""

import errno
import os
import signal
import threading

import pytest

from netspec.events import Note
from netspec.runners.training.journal import Journal
from netspec.runners.training.signals import EXIT_CODES, Interrupts


@pytest.fixture(autouse=True)
def usual_handlers(usual_interrupt):
    """Whoever runs the tests may also ignore SIGHUP (nohup does), which runs respect."""
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_ignored_signal_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), number)
            assert not interrupts
            assert signal.getsignal(number) is signal.SIG_IGN
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


INTERRUPT, TERMINATE, HANG_UP = EXIT_CODES
SAVED = "SIGINT (Ctrl-C) is ignored here: kill -{} PID ends the run, with a checkpoint"


@pytest.mark.parametrize(
    ("ignored", "advice"),
    [
        ([], None),
        ([TERMINATE, HANG_UP], None),
        ([INTERRUPT], SAVED.format("TERM")),
        ([INTERRUPT, TERMINATE], SAVED.format("HUP")),
        (EXIT_CODES, "SIGINT, SIGTERM and SIGHUP are ignored here: kill -KILL PID ends the run, unsaved"),
    ],
)
def test_advice_where_ctrl_c_ends_nothing(ignored, advice):
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    try:
        with Interrupts() as interrupts:
            assert interrupts.advice() == (advice and advice.replace("PID", str(os.getpid())))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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

