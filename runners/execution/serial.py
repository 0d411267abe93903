"""The serial runner: one queue, every step in order, finished before the next begins. The oracle for all others."""

from __future__ import annotations

from netspec.device.base import Call, Device
from netspec.errors import NetspecError
from netspec.planning.plan import Step
from netspec.runners.execution.base import Runner
from netspec.runners.execution.bound import BoundProgram
from netspec.runners.execution.trace import Trace


class SerialRunner(Runner):
    """Runs iterations of one bound program in the caller's thread."""

    def __init__(self, bound: BoundProgram, trace: Trace | None = None, watchdog: float = 300.0) -> None:
        super().__init__(bound)
        self.trace = trace
        self._work: list[tuple[Step, Call, Device]] = [
            (one.step, one.call, bound.devices[one.step.device]) for one in bound.steps
        ]

    def run(self) -> None:
        """One iteration. Raises NetspecError naming the step that failed."""
        for step, call, device in self._work:
            if not self.bound.is_due(step):
                continue
            start = self.trace.now() if self.trace else 0.0
            try:
                call()
                device.synchronise()
            except NetspecError:
                raise
            except Exception as error:
                raise step_failed(step, error) from error
            if self.trace:
                self.trace.step(step, start)


def step_failed(step: Step, error: BaseException) -> NetspecError:
    """One message for a step that raised: which step, on which device, and what."""
    return NetspecError(f"step '{step.name}' failed on device '{step.device}': {type(error).__name__}: {error}")
