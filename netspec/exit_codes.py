"""How every command ends: the exit codes, and what each says."""

from __future__ import annotations

import signal

OK, WRONG, USAGE, INTERNAL = 0, 1, 2, 70
"""70 is what sysexits.h has for a fault of the program itself."""
HANGUP, INTERRUPTED, TERMINATED = (128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
"""128 and the signal's number, as shells have it."""

KINDS = {
    OK: ("", "all is well"),
    WRONG: ("input", "a spec, a file, images or this machine are not as they must be, or a run failed"),
    USAGE: ("usage", "the command line is wrong, or names a file that is not there"),
    INTERNAL: ("internal", "a fault of netspec"),
    HANGUP: ("interrupted", "SIGHUP ended it"),
    INTERRUPTED: ("interrupted", "Ctrl-C (SIGINT) ended it"),
    TERMINATED: ("interrupted", "SIGTERM ended it"),
}
"""What each is called in an error that is JSON, and what it says. A run that a signal ends has written a checkpoint."""


def table() -> str:
    """A line for each code."""
    return "\n".join(f"{code:>3}  {text}" for code, (_, text) in KINDS.items())
