"""Overlap on GPUs: one thread enqueues all steps; streams run them, events order them across queues and devices."""

from __future__ import annotations

from netspec.device.base import Call, Device, Event
from netspec.errors import NetspecError
from netspec.plan.model import Step
from netspec.runners.bound import BoundProgram
from netspec.runners.serial import step_failed
from netspec.runners.trace import Trace


class StreamRunner:
    """Enqueues an iteration and waits for its end; with a trace the host's enqueueing is what is recorded."""

    def __init__(self, bound: BoundProgram, trace: Trace | None = None) -> None:
        self.trace = trace
        self.devices = tuple(dict.fromkeys(bound.devices.values()))
        self._steps: list[tuple[Step, Call, Device]] = [
            (one.step, one.call, bound.devices[one.step.device]) for one in bound.steps
        ]
        owners = {step.name: device for step, _, device in self._steps}
        self._events: dict[str, Event] = {
            name: owners[name].event() for step, _, _ in self._steps for name in step.after
        }

    def run(self) -> None:
        """One iteration. Raises NetspecError naming the step that could not be enqueued, or the device that failed."""
        for step, call, device in self._steps:
            start = self.trace.now() if self.trace else 0.0
            try:
                for name in step.after:
                    device.wait(self._events[name], step.queue)
                call()
            except NetspecError:
                raise
            except Exception as error:
                raise step_failed(step, error) from error
            if step.name in self._events:
                device.record(self._events[step.name], step.queue)
            if self.trace:
                self.trace.step(step, start)
        for device in self.devices:
            device.synchronise()

    def close(self) -> None:
        """Nothing to give back: devices own their streams."""
