"""What a machine allows a step to take at least: the roofline model (Williams, Waterman and Patterson 2009)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netspec.machine.roofline import measured
from netspec.program.gpu_model import step_bytes

if TYPE_CHECKING:
    from netspec.runners.execution.session import Session

_MEANING = (
    "Of the roofline: the least time over the time. The least is that of the operations at the rate of a large matrix "
    "product, or that of the bytes at the rate of a large copy, whichever is longer. Winograd's convolution needs "
    "fewer operations than are counted, and caches are faster than a copy, so that shares above 100 % are possible"
)


def step_bounds(session: Session) -> tuple[dict[str, float], str]:
    """Seconds at least for the steps forward and backward of a training iteration, by name; and a line on them.

    Measured now, on as many threads as each device has. None where a device is no CPU: what a GPU does when is not
    known to the host, whose times a trace has.
    """
    if any(device.kind != "cpu" for device in session.devices.values()):
        return {}, "No share of the roofline: times on GPUs are those at which the host enqueues, not the card's own."
    sizes = {name: device.team_size for name, device in session.devices.items()}
    roofs = {size: measured(size) for size in set(sizes.values())}
    program = session.programs["train"]
    bounds = {
        step.name: roofs[sizes[step.device]].seconds(step.flops, step_bytes(program, step))
        for step in program.steps
        if step.op in ("forward", "backward")
    }
    rates = "; ".join(f"{name} {roofs[size]}" for name, size in sizes.items())
    return bounds, f"{_MEANING}. Measured on this machine: {rates}."
