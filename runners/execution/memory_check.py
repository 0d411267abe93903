"""Whether a network fits: what its Programs take, beside what the machine has, before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netspec.device.gpus import gpus
from netspec.errors import NetspecError
from netspec.machine.environment import host_memory
from netspec.program import Program
from netspec.report.units import size


def check_memory(programs: Iterable[Program], binding: Mapping[str, str]) -> None:
    """Raise NetspecError where the devices bound to one memory need more than it has.

    ``binding`` gives the real device of each of the spec's. CPUs share the host's memory; a system that grants more
    than there is would kill the process at the first touch, long after the allocation.
    """
    needs: dict[str, int] = {}
    for program in programs:
        for device, row in program.memory().items():
            needs[device] = max(needs.get(device, 0), row["total"])
    for memory, devices in _by_memory(binding).items():
        need, have = sum(needs[device] for device in devices), _capacity(memory)
        if have is not None and need > have:
            parts = ", ".join(f"{size(needs[device])} for '{device}'" for device in devices)
            raise NetspecError(
                f"the plan takes {size(need)} of memory on {memory} ({parts}), which has {size(have)}; "
                "lower train.batch (--batch), or bind to other devices"
            )


def _by_memory(binding: Mapping[str, str]) -> dict[str, list[str]]:
    """Spec devices by what they share: the host's memory, or a card."""
    shared: dict[str, list[str]] = {}
    for device, real in binding.items():
        shared.setdefault("this machine" if real.startswith("cpu") else real, []).append(device)
    return shared


def _capacity(memory: str) -> int | None:
    if memory == "this machine":
        return host_memory()
    index = int(memory.partition(":")[2])
    return gpus()[index].memory if index < len(gpus()) else None
