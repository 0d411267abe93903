"""The local runner: a queue a thread on CPUs, streams and events on GPUs; transfers overlap with compute."""

from __future__ import annotations

from netspec.errors import NetspecError
from netspec.runners.execution.bound import BoundProgram
from netspec.runners.execution.streams import StreamRunner
from netspec.runners.execution.threads import ThreadRunner
from netspec.runners.execution.trace import Trace


def local_runner(
    bound: BoundProgram, trace: Trace | None = None, watchdog: float = 300.0
) -> ThreadRunner | StreamRunner:
    """The overlapped runner for the kind of devices that the program is bound to."""
    kinds = {device.kind for device in bound.devices.values()}
    if kinds == {"cpu"}:
        return ThreadRunner(bound, trace, watchdog)
    if kinds == {"cuda"}:
        return StreamRunner(bound, trace, watchdog)
    raise NetspecError("devices of different kinds cannot work together yet: bind all to CPUs or all to GPUs")
