"""What tests of any folder may ask for."""

import signal

import pytest


@pytest.fixture
def usual_interrupt():
    """SIGINT as a terminal's programs have it, here and in children: pytest may have been started with it ignored.

    Shells start background jobs so. For the test alone: meanwhile Ctrl-C reaches the job.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
